"""Queries on conversations and their members."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from chat_service.model.tables import conversation_members


async def min_seqs(
    connection: AsyncConnection, user_id: int, conversation_ids: Collection[str]
) -> dict[str, int]:
    """What is hidden from the user: messages up to this seq. Missing where there is no row."""
    t = conversation_members.c
    query = select(t.conversation_id, t.min_seq).where(
        t.user_id == user_id, t.conversation_id.in_(conversation_ids)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}
