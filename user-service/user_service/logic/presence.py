"""Who is online, and when somebody was last seen.

The table of users says who hides it, asked each time: a copy in Redis that is lost would show those
who hide. For everyone but themselves they look like somebody who was never here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from im_common.errors import invalid
from user_service.model import users
from user_service.model.presence import Presence
from user_service.svc import ServiceContext

MOST_USERS = 1000


async def get_online_users(
    svc: ServiceContext, caller_id: int, user_ids: Sequence[int]
) -> list[Presence]:
    """One for each id, in order. Unknown users are not online."""
    if len(user_ids) > MOST_USERS:
        raise invalid("user_ids", f"may be at most {MOST_USERS}")
    found = await svc.presence.get(user_ids)
    hidden = await hidden_users(svc, [p.user_id for p in found if p.online or p.last_seen])
    hidden.discard(caller_id)
    return [Presence(p.user_id, [], 0) if p.user_id in hidden else p for p in found]


async def record(svc: ServiceContext, devices: Collection[tuple[int, str]]) -> set[int]:
    """Devices, as (user, platform), came or went. Those of the users who hide it."""
    if not devices:
        return set()
    await svc.presence.see(devices)
    return await hidden_users(svc, {user_id for user_id, _ in devices})


async def hidden_users(svc: ServiceContext, user_ids: Collection[int]) -> set[int]:
    if not user_ids:
        return set()
    async with svc.db.read() as connection:
        return await users.hidden(connection, user_ids)
