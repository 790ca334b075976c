"""A user's conversations: the list, what is unread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from chat_service.logic import membership
from chat_service.model import members, mentions, messages, overview
from chat_service.model.messages import Range
from chat_service.model.overview import After, Standing
from chat_service.svc import ServiceContext
from im_common.domain.paging import Ascii, Int64, page_limit, read_cursor_as, write_cursor


@dataclass(frozen=True, slots=True)
class OverviewItem:
    """A conversation, its newest message when the user may see it, and the oldest unread one that
    mentions the user."""

    standing: Standing
    last_message: Row[Any] | None
    mentioned_seq: int | None


async def list_conversations(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[OverviewItem], str]:
    """A page, pinned first, then newest activity first, and the cursor of the next one."""
    size = page_limit(limit)
    values = read_cursor_as(tuple[bool, Int64, Ascii], cursor)
    after = None if values is None else After(*values)

    def read(
        connection: Connection,
    ) -> tuple[list[Standing], dict[str, Row[Any]], dict[str, int]]:
        found = overview.page_of_user(connection, user_id, after=after, limit=size + 1)
        shown = [s for s in found[:size] if s.last_seq > s.hidden_seq]
        places = [(s.conversation_id, s.last_seq) for s in shown]
        newest = messages.at_places(connection, user_id, places)
        # Of the others the user has deleted the newest one.
        rest = [(s.conversation_id, s.hidden_seq) for s in shown if s.conversation_id not in newest]
        newest |= messages.newest_of(connection, user_id, rest)
        unread = [Range(s.conversation_id, s.seen_seq, s.last_seq) for s in shown if s.unread]
        return found, newest, mentions.oldest(connection, user_id, unread)

    found, newest, mentioned = await svc.db.read(read)
    listed = [
        OverviewItem(s, newest.get(s.conversation_id), mentioned.get(s.conversation_id))
        for s in found[:size]
    ]
    if len(found) <= size:
        return listed, ""
    last = found[size - 1]
    return listed, write_cursor(last.pinned, last.last_message_at, last.conversation_id)


async def get_unread_count(svc: ServiceContext, user_id: int) -> dict[str, int]:
    """Of each conversation that has unread messages, how many."""
    standings = await svc.db.read(overview.of_user, user_id)
    present: Sequence[Standing] = [s for s in standings if s.left_seq is None]
    return {s.conversation_id: s.unread for s in present if s.unread}


async def get_unread_messages(
    svc: ServiceContext, user_id: int, conversation_id: str, limit: int
) -> list[Row[Any]]:
    """The oldest of them. PERMISSION_DENIED, NOT_GROUP_MEMBER, NOT_FOUND, INVALID_ARGUMENT."""
    size = page_limit(limit)
    key = (user_id, conversation_id)
    rows = await svc.db.read(members.positions, [key])
    await membership.check(svc, user_id, conversation_id, rows.get(key))

    def read(connection: Connection) -> list[Row[Any]]:
        standing = overview.one(connection, user_id, conversation_id)
        if standing is None:
            return []
        return messages.page(
            connection,
            conversation_id,
            reader=user_id,
            above=standing.seen_seq,
            below=standing.last_seq + 1,
            limit=size,
            newest=False,
            recalled=False,
        )

    return await svc.db.read(read)
