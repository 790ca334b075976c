"""A user's conversations: the list, what is unread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from chat_service.logic import membership
from chat_service.model import members, messages, overview
from chat_service.model.overview import After, Standing
from chat_service.svc import ServiceContext
from im_common.domain.paging import Ascii, Int64, page_limit, read_cursor_as, write_cursor


@dataclass(frozen=True, slots=True)
class OverviewItem:
    """A conversation, and its newest message when the user may see it."""

    standing: Standing
    last_message: Row[Any] | None


async def list_conversations(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[OverviewItem], str]:
    """A page, pinned first, then newest activity first, and the cursor of the next one."""
    size = page_limit(limit)
    values = read_cursor_as(tuple[bool, Int64, Ascii], cursor)
    after = None if values is None else After(*values)
    async with svc.db.read() as connection:
        found = await overview.page_of_user(connection, user_id, after=after, limit=size + 1)
        page = found[:size]
        places = [(s.conversation_id, s.last_seq) for s in page if s.last_seq > s.hidden_seq]
        newest = await messages.at_places(connection, user_id, places)
        # Of the others the user has deleted the newest one.
        rest = [s for s in page if s.last_seq > s.hidden_seq and s.conversation_id not in newest]
        newest |= await messages.newest_of(
            connection, user_id, [(s.conversation_id, s.hidden_seq) for s in rest]
        )
    listed = [OverviewItem(standing, newest.get(standing.conversation_id)) for standing in page]
    if len(found) <= size:
        return listed, ""
    last = page[-1]
    return listed, write_cursor(last.pinned, last.last_message_at, last.conversation_id)


async def get_unread_count(svc: ServiceContext, user_id: int) -> dict[str, int]:
    """Of each conversation that has unread messages, how many."""
    async with svc.db.read() as connection:
        standings = await overview.of_user(connection, user_id)
    present: Sequence[Standing] = [s for s in standings if s.left_seq is None]
    return {s.conversation_id: s.unread for s in present if s.unread}


async def get_unread_messages(
    svc: ServiceContext, user_id: int, conversation_id: str, limit: int
) -> list[Row[Any]]:
    """The oldest of them. PERMISSION_DENIED, NOT_GROUP_MEMBER, NOT_FOUND, INVALID_ARGUMENT."""
    size = page_limit(limit)
    key = (user_id, conversation_id)
    async with svc.db.read() as connection:
        row = (await members.positions(connection, [key])).get(key)
    await membership.check(svc, user_id, conversation_id, row)
    async with svc.db.read() as connection:
        standing = await overview.one(connection, user_id, conversation_id)
        if standing is None:
            return []
        return await messages.page(
            connection,
            conversation_id,
            reader=user_id,
            above=max(standing.read_seq, standing.hidden_seq),
            below=standing.last_seq + 1,
            limit=size,
            newest=False,
            recalled=False,
        )
