"""Queries on conversations."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from chat_service.model.tables import conversations


def last_seqs(connection: Connection, conversation_ids: Collection[str]) -> dict[str, int]:
    """The newest seq of those of the conversations that exist."""
    t = conversations.c
    possible = [one for one in conversation_ids if one.isascii()]
    query = select(t.conversation_id, t.last_seq).where(t.conversation_id.in_(possible))
    return {row[0]: row[1] for row in connection.execute(query)}
