"""What friends are told when somebody's profile changes.

An event for each friend, as their devices hear everything else. Members of the same groups who are no
friends are not told: one picture would be as many records as all those groups have members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from im.friend.v1.friend_pb2 import BatchListFriendIdsRequest
from im_common.domain.events import ProfileUpdated, user_event
from im_common.errors import AppError
from im_common.runtime.faults import report
from im_common.sql.outbox import Change
from user_service.model.users import User
from user_service.svc import ServiceContext

# Of what everybody may see, what is shown beside messages.
FRIENDS_SEE = ("nickname", "avatar", "signature")
# Who has more friends tells none of them: they see it when they load their lists.
MOST_TOLD = 2000
# Who changes a profile does not wait longer for a list of friends.
ASK_S = 0.8


async def friends_to_tell(svc: ServiceContext, user_id: int) -> Sequence[int]:
    """Nobody when friend-service does not say: a change of a profile does not depend on it."""
    asked = BatchListFriendIdsRequest(user_ids=[user_id])
    try:
        answer = await svc.friends.BatchListFriendIds(asked, timeout=ASK_S)
    except AppError as error:
        report(error, "friends not told of a profile", user_id=user_id)
        return []
    friend_ids = answer.lists[0].friend_ids
    return friend_ids if len(friend_ids) <= MOST_TOLD else []


def tell_profile(
    change: Change, user_ids: Sequence[int], before: User, values: Mapping[str, str]
) -> None:
    """Of what is another value than before; when all is the same, nothing."""
    news = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not news:
        return
    data = ProfileUpdated(user_id=before.user_id, **news)
    change.tell(*(user_event(user_id, data) for user_id in user_ids))
