"""Block lists."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from friend_service.logic import membership
from friend_service.logic.changes import LEASE_MS, Between, between
from friend_service.logic.people import Person, check_exists, people_by_id
from friend_service.model import blocks
from friend_service.model.blocks import BlockedUser
from friend_service.model.cache import Kind, Question
from friend_service.svc import ServiceContext
from im_common.domain.call_limits import MOST_PAIRS
from im_common.domain.events import BlockListChanged
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import invalid


@dataclass(frozen=True, slots=True)
class Standing:
    """What is between a user who wants to write and the other one."""

    blocked: bool
    # Only when it was asked for.
    friends: bool


async def block_user(svc: ServiceContext, user_id: int, target_id: int) -> None:
    """From now on ``target_id`` cannot write to ``user_id``; a friendship and pending requests of the
    two end. NOT_FOUND when there is no such user."""
    if target_id == user_id:
        raise invalid("user_id", "must be another user")
    await check_exists(svc, target_id)

    def block(pair: Between) -> None:
        if user_id in blocks.between(pair.connection, user_id, target_id):
            return
        blocks.insert(pair.connection, user_id, target_id, pair.now)
        pair.tell(user_id, BlockListChanged(user_id=target_id, blocked=True))
        pair.end_friendship(user_id, target_id)
        pair.end_request(user_id, target_id)

    await between(svc, user_id, target_id, block)
    # Who was told "not blocked" just before may still rely on it.
    await asyncio.sleep(LEASE_MS / 1000)


async def unblock_user(svc: ServiceContext, user_id: int, target_id: int) -> None:
    """Nothing happens when there is no block."""
    if user_id not in await svc.db.read(blocks.between, user_id, target_id):
        return

    def unblock(pair: Between) -> None:
        if blocks.delete(pair.connection, user_id, target_id):
            pair.tell(user_id, BlockListChanged(user_id=target_id, blocked=False))

    await between(svc, user_id, target_id, unblock)


async def list_blocked_users(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[tuple[BlockedUser, Person]], str]:
    """A page, newest first, and the cursor of the next one (empty when this is the last)."""
    size = page_limit(limit)
    found = await svc.db.read(blocks.page, user_id, before=read_cursor(cursor, 2), limit=size + 1)
    page = found[:size]
    people = await people_by_id(svc, [one.user_id for one in page])
    next_cursor = write_cursor(page[-1].created_at, page[-1].user_id) if found[size:] else ""
    return [(one, people[one.user_id]) for one in page], next_cursor


async def batch_is_blocked(
    svc: ServiceContext,
    pairs: Sequence[tuple[int, int]],
    *,
    both_ways: bool = False,
    with_friends: bool = False,
) -> list[Standing]:
    """For each (user, target): whether the target has blocked the user (or the user the target, with
    ``both_ways``), and whether they are friends. May be relied on for LEASE_MS."""
    if len(pairs) > MOST_PAIRS:
        raise invalid("pairs", f"may be at most {MOST_PAIRS}")
    questions: list[Question] = [(Kind.BLOCKS, target, user) for user, target in pairs]
    if both_ways:
        questions += [(Kind.BLOCKS, user, target) for user, target in pairs]
    if with_friends:
        questions += [(Kind.FRIENDS, target, user) for user, target in pairs]
    true = await membership.among(svc, questions)
    return [
        Standing(
            blocked=(Kind.BLOCKS, target, user) in true
            or (both_ways and (Kind.BLOCKS, user, target) in true),
            friends=(Kind.FRIENDS, target, user) in true,
        )
        for user, target in pairs
    ]
