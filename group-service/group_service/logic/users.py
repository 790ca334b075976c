"""What group-service asks of user-service and friend-service."""

from __future__ import annotations

from collections.abc import Sequence

from group_service.svc import ServiceContext
from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, IsBlockedRequest
from im.user.v1.user_pb2 import CheckUsersRequest
from im_common.domain.call_limits import MOST_CHECKED, MOST_PAIRS
from im_common.errors import AppError, Code
from im_common.runtime.chunks import chunks


async def check_may_be_added(
    svc: ServiceContext, field: str, inviter_id: int, user_ids: Sequence[int]
) -> None:
    """NOT_FOUND when one of the users is not there (or disabled), BLOCKED when one has blocked the
    inviter; both name ``field``."""
    await _check_exist(svc, field, user_ids)
    for some in chunks(user_ids, MOST_PAIRS):
        pairs = [IsBlockedRequest(user_id=inviter_id, target_id=user_id) for user_id in some]
        answer = await svc.friends.BatchIsBlocked(BatchIsBlockedRequest(pairs=pairs))
        for pair, blocked in zip(pairs, answer.blocked, strict=True):
            if blocked:
                said = f"user {pair.target_id} does not take your invitations"
                raise AppError(Code.BLOCKED, said, field=field)


async def _check_exist(svc: ServiceContext, field: str, user_ids: Sequence[int]) -> None:
    known: set[int] = set()
    for some in chunks(user_ids, MOST_CHECKED):
        known.update((await svc.users.CheckUsers(CheckUsersRequest(user_ids=some))).user_ids)
    unknown = next((user_id for user_id in user_ids if user_id not in known), None)
    if unknown is not None:
        raise AppError(Code.NOT_FOUND, f"user {unknown} not found", field=field)
