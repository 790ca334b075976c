"""Queries on conversations and their members."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from chat_service.model.tables import conversation_members, conversations
from im_common.db import Database


async def reserve(
    db: Database, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Adds each row's `last_seq` (a count of new messages) to its conversation, made when missing,
    and gives the new last seq of each.

    The rows stay locked until the end of the transaction, so two writers take turns; both must lock
    in the same order: give the rows sorted by conversation_id.
    """
    statement = db.upsert(
        conversations,
        ["conversation_id"],
        lambda old, new: {
            "last_seq": old.c.last_seq + new.last_seq,
            "last_message_id": new.last_message_id,
            "last_message_at": new.last_message_at,
        },
    )
    await connection.execute(statement, rows)
    query = select(conversations.c.conversation_id, conversations.c.last_seq).where(
        conversations.c.conversation_id.in_([row["conversation_id"] for row in rows])
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def min_seqs(
    connection: AsyncConnection, user_id: int, conversation_ids: Collection[str]
) -> dict[str, int]:
    """What is hidden from the user: messages up to this seq. Missing where there is no row."""
    t = conversation_members.c
    query = select(t.conversation_id, t.min_seq).where(
        t.user_id == user_id, t.conversation_id.in_(conversation_ids)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}
