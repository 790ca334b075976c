"""Block lists."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from friend_service.model import blocks
from friend_service.model.blocks import BlockedUser
from friend_service.svc import ServiceContext
from im.user.v1.user_pb2 import GetUserRequest
from im_common.domain.events import BlockListChanged, user_event
from im_common.domain.ids import now_ms
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import invalid

MOST_PAIRS = 1000
# How long an answer "not blocked" may be relied on, from when it was asked for; a block takes that
# much longer.
LEASE_MS = 300


async def block_user(svc: ServiceContext, user_id: int, target_id: int) -> None:
    """From now on ``target_id`` cannot write to ``user_id``. NOT_FOUND when there is no such user."""
    if target_id == user_id:
        raise invalid("user_id", "must be another user")
    await svc.users.GetUser(GetUserRequest(user_id=target_id))
    async with svc.outbox.write() as change:
        if await blocks.insert(change.connection, user_id, target_id, now_ms()):
            change.tell(user_event(user_id, BlockListChanged(user_id=target_id, blocked=True)))
    # Who was told "not blocked" just before may still rely on it.
    await asyncio.sleep(LEASE_MS / 1000)


async def unblock_user(svc: ServiceContext, user_id: int, target_id: int) -> None:
    async with svc.outbox.write() as change:
        if await blocks.delete(change.connection, user_id, target_id):
            change.tell(user_event(user_id, BlockListChanged(user_id=target_id, blocked=False)))


async def list_blocked_users(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[BlockedUser], str]:
    """A page, newest first, and the cursor of the next one (empty when this is the last)."""
    size = page_limit(limit)
    async with svc.db.read() as connection:
        found = await blocks.page(
            connection, user_id, before=read_cursor(cursor, 2), limit=size + 1
        )
    users = found[:size]
    more = len(found) > size
    return users, write_cursor(users[-1].created_at, users[-1].user_id) if more else ""


async def batch_is_blocked(svc: ServiceContext, pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """For each (user, target): whether the target has blocked the user. Asked straight from the
    table; "no" may be relied on for LEASE_MS."""
    if len(pairs) > MOST_PAIRS:
        raise invalid("pairs", f"may be at most {MOST_PAIRS}")
    if not pairs:
        return []
    wanted = {(target, user) for user, target in pairs}
    blocked = await svc.db.run_read(lambda connection: blocks.existing(connection, wanted))
    return [(target, user) in blocked for user, target in pairs]
