"""Reading conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from chat_service.logic import membership
from chat_service.model import members, messages
from chat_service.model.members import Position
from chat_service.svc import ServiceContext
from im_common.domain.ids import check_id, group_conversation, single_conversation
from im_common.domain.paging import page_limit
from im_common.errors import invalid, not_found

# Has deleted nothing for themselves, and sees what everybody does.
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which part of a history; 0 is a bound."""

    before_seq: int | None = None
    after_seq: int | None = None
    around_seq: int | None = None
    limit: int = 0


async def get_history(
    svc: ServiceContext, user_id: int, conversation_id: str, bounds: Bounds
) -> tuple[list[Row[Any]], bool]:
    """A page of a conversation, in ascending seq, and whether there is more: for its members only.
    INVALID_ARGUMENT, PERMISSION_DENIED, NOT_FOUND, NOT_GROUP_MEMBER."""
    if isinstance(membership.parse(conversation_id), tuple):
        await membership.check(svc, user_id, conversation_id, None)
    return await _page(svc, user_id, conversation_id, bounds)


async def get_chat_history(
    svc: ServiceContext, user_id: int, other_id: int, bounds: Bounds
) -> tuple[list[Row[Any]], bool]:
    """The same for the conversation with another user."""
    check_id("user_id", other_id)
    return await _page(svc, user_id, single_conversation(user_id, other_id), bounds)


async def get_group_history(
    svc: ServiceContext, user_id: int, group_id: int, bounds: Bounds
) -> tuple[list[Row[Any]], bool]:
    """The same for a group. Who was a member reads up to the last message before."""
    conversation_id = group_conversation(check_id("group_id", group_id))
    return await _page(svc, user_id, conversation_id, bounds)


async def read_reported(
    svc: ServiceContext, conversation_id: str, before_seq: int, limit: int
) -> tuple[list[Row[Any]], bool]:
    """For an operator, who is no member: a page below ``before_seq`` (0: the newest), in ascending seq,
    and whether there are older messages. INVALID_ARGUMENT; NOT_FOUND when nobody has written in it."""
    membership.parse(conversation_id)
    size = page_limit(limit)
    if before_seq < 0:
        raise invalid("before_seq", "must not be negative")

    def read(connection: Connection) -> list[Row[Any]]:
        return messages.page(
            connection,
            conversation_id,
            reader=NOBODY,
            above=0,
            below=before_seq or None,
            limit=size + 1,
            newest=True,
        )

    rows = await svc.db.read(read)
    if not rows and not before_seq:
        raise not_found("conversation")
    return rows[-size:], len(rows) > size


async def _page(
    svc: ServiceContext, user_id: int, conversation_id: str, bounds: Bounds
) -> tuple[list[Row[Any]], bool]:
    limit = page_limit(bounds.limit)
    for field in ("before_seq", "after_seq", "around_seq"):
        if (getattr(bounds, field) or 0) < 0:
            raise invalid(field, "must not be negative")
    key = (user_id, conversation_id)
    row = (await svc.db.read(members.positions, [key])).get(key)
    if row is None and isinstance(membership.parse(conversation_id), int):
        await membership.check(svc, user_id, conversation_id, None)
        # A member of whom the conversation has not been told yet: nothing is theirs to see.
        return [], False
    position = row or Position()
    above = max(bounds.after_seq or 0, position.min_seq)
    below = _lower(bounds.before_seq, _end(position))

    def read(connection: Connection) -> tuple[list[Row[Any]], bool]:

        def page(**part: Any) -> list[Row[Any]]:
            return messages.page(connection, conversation_id, reader=user_id, **part)

        if bounds.around_seq is not None:
            return _around(page, bounds.around_seq, above, below, limit)
        # Downwards from the end or from `before`, upwards from `after`.
        newest = bounds.after_seq is None
        rows = page(above=above, below=below, limit=limit + 1, newest=newest)
        more = len(rows) > limit
        return (rows[1:] if newest else rows[:limit]) if more else rows, more

    return await svc.db.read(read)


def _end(position: Position) -> int | None:
    """The first seq that is not the member's to see any more."""
    return None if position.left_seq is None else position.left_seq + 1


def _lower(a: int | None, b: int | None) -> int | None:
    bounds = [bound for bound in (a, b) if bound is not None]
    return min(bounds) if bounds else None


def _around(
    page: Callable[..., list[Row[Any]]],
    seq: int,
    above: int,
    below: int | None,
    limit: int,
) -> tuple[list[Row[Any]], bool]:
    older_than = seq if below is None else min(seq, below)
    older = page(above=above, below=older_than, limit=limit // 2, newest=True)
    room = limit - len(older)
    newer = page(above=max(above, seq - 1), below=below, limit=room + 1, newest=False)
    return [*older, *newer[:room]], len(newer) > room
