"""Queries on messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from chat_service.model.tables import messages

_t = messages.c


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is."""

    message_id: str
    conversation_id: str
    seq: int
    timestamp: int


async def find_places(
    connection: AsyncConnection, keys: Collection[tuple[int, str]]
) -> dict[tuple[int, str], Place]:
    """Those of the (sender_id, client_msg_id) that are stored, by one query on a unique key."""
    query = select(
        _t.sender_id, _t.client_msg_id, _t.message_id, _t.conversation_id, _t.seq, _t.created_at
    ).where(tuple_(_t.sender_id, _t.client_msg_id).in_(keys))
    return {(row[0], row[1]): Place(*row[2:]) for row in await connection.execute(query)}


async def insert_many(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """One multi-row insert."""
    await connection.execute(insert(messages), rows)


async def page(
    connection: AsyncConnection,
    conversation_id: str,
    *,
    above: int,
    below: int | None,
    limit: int,
    newest: bool,
) -> list[Row[Any]]:
    """Messages with above < seq < below, in ascending seq: the first or the newest ``limit``."""
    query = select(messages).where(_t.conversation_id == conversation_id, _t.seq > above)
    if below is not None:
        query = query.where(_t.seq < below)
    query = query.order_by(_t.seq.desc() if newest else _t.seq).limit(limit)
    rows = list(await connection.execute(query))
    return rows[::-1] if newest else rows
