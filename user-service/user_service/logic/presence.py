"""Who is online, and when somebody was last seen.

The table of users says who hides it, asked each time: a copy in Redis that is lost would show those
who hide. For everyone but themselves they look like somebody who was never here; so do two people of
whom one has blocked the other, for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from redis.exceptions import RedisError

from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, IsBlockedRequest
from im_common.domain.call_limits import MOST_PRESENCES
from im_common.errors import invalid
from im_common.runtime.faults import report
from user_service.model import users
from user_service.model.presence import Presence
from user_service.svc import ServiceContext


async def get_online_users(
    svc: ServiceContext, caller_id: int, user_ids: Sequence[int]
) -> list[Presence]:
    """One for each id, in order. Unknown users are not online. Where one of the two has blocked the
    other they are strangers; UNAVAILABLE when friend-service cannot say that."""
    if len(user_ids) > MOST_PRESENCES:
        raise invalid("user_ids", f"may be at most {MOST_PRESENCES}")
    found = await svc.presence.get(user_ids)
    known = {p.user_id for p in found if p.online or p.last_seen} - {caller_id}
    hidden = await hidden_users(svc, known)
    hidden |= await _apart(svc, caller_id, known - hidden)
    return [Presence(p.user_id, [], 0) if p.user_id in hidden else p for p in found]


async def record(svc: ServiceContext, devices: Collection[tuple[int, str]]) -> None:
    """Devices, as (user, platform), came or went."""
    if devices:
        await svc.presence.see(devices)


async def list_hidden(svc: ServiceContext, user_ids: Collection[int]) -> set[int]:
    """Those of the users who hide their presence; one query."""
    if len(user_ids) > MOST_PRESENCES:
        raise invalid("user_ids", f"may be at most {MOST_PRESENCES}")
    return await hidden_users(svc, user_ids)


async def tell_hiding(svc: ServiceContext, user_id: int, *, hides: bool) -> None:
    """Friends who are online see the user go, or come. When Redis is away they do not, as nobody is
    told anything then; who asks is told right."""
    try:
        await (svc.comings.hide(user_id) if hides else svc.comings.touch([user_id]))
    except RedisError as error:
        report(error, "friends not told")


async def _apart(svc: ServiceContext, caller_id: int, user_ids: Collection[int]) -> set[int]:
    """Those who have blocked the caller, or are blocked by the caller."""
    if not user_ids:
        return set()
    pairs = [IsBlockedRequest(user_id=caller_id, target_id=user_id) for user_id in user_ids]
    asked = BatchIsBlockedRequest(pairs=pairs, both_ways=True)
    answer = await svc.friends.BatchIsBlocked(asked)
    return {user_id for user_id, blocked in zip(user_ids, answer.blocked, strict=True) if blocked}


async def hidden_users(svc: ServiceContext, user_ids: Collection[int]) -> set[int]:
    if not user_ids:
        return set()
    return await svc.db.read(users.hidden, user_ids)
