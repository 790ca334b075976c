"""Reading conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from chat_service.logic import membership
from chat_service.model import members, messages
from chat_service.svc import ServiceContext
from im_common.domain.ids import check_id, group_conversation, single_conversation
from im_common.domain.paging import page_limit
from im_common.errors import invalid


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
    members = membership.parse(conversation_id)
    if isinstance(members, int):
        return await get_group_history(svc, user_id, members, bounds)
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
    """The same for a group."""
    conversation_id = group_conversation(check_id("group_id", group_id))
    await membership.check(svc, user_id, conversation_id, None)
    return await _page(svc, user_id, conversation_id, bounds)


async def _page(
    svc: ServiceContext, user_id: int, conversation_id: str, bounds: Bounds
) -> tuple[list[Row[Any]], bool]:
    limit = page_limit(bounds.limit)
    for field in ("before_seq", "after_seq", "around_seq"):
        if (getattr(bounds, field) or 0) < 0:
            raise invalid(field, "must not be negative")

    def read(connection: Connection) -> tuple[list[Row[Any]], bool]:
        hidden = members.min_seqs(connection, user_id, [conversation_id])
        above = max(bounds.after_seq or 0, hidden.get(conversation_id, 0))

        def page(**part: Any) -> list[Row[Any]]:
            return messages.page(connection, conversation_id, reader=user_id, **part)

        if bounds.around_seq is not None:
            return _around(page, bounds.around_seq, above, bounds.before_seq, limit)
        # Downwards from the end or from `before`, upwards from `after`.
        newest = bounds.after_seq is None
        rows = page(above=above, below=bounds.before_seq, limit=limit + 1, newest=newest)
        more = len(rows) > limit
        return (rows[1:] if newest else rows[:limit]) if more else rows, more

    return await svc.db.read(read)


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
