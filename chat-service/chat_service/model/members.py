"""Queries on where members stand in their conversations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert

from chat_service.model.tables import conversation_members
from im_common.sql.db import Database

_m = conversation_members.c

# A user and a conversation.
MemberKey = tuple[int, str]


class Position(NamedTuple):
    """Where a member stands."""

    read_seq: int = 0
    delivered_seq: int = 0
    # Hidden up to here.
    min_seq: int = 0
    # Nothing later is visible; None for who has not left.
    left_seq: int | None = None


class Cursors(NamedTuple):
    """Up to where somebody has a conversation."""

    read_seq: int
    delivered_seq: int


async def advance(
    db: Database, connection: AsyncConnection, moves: Mapping[MemberKey, Cursors]
) -> None:
    """Makes members where there is no row, and moves their cursors forward, never back."""
    # In one order, so that two writers never wait for each other.
    rows = [new_row(key, cursors) for key, cursors in sorted(moves.items())]
    await connection.execute(advancing(db), rows)


def advancing(db: Database) -> Insert:
    """The statement of ``advance``, for rows of ``new_row``."""
    return db.upsert(
        conversation_members,
        ["user_id", "conversation_id"],
        lambda old, new: {
            "read_seq": db.greatest(old.c.read_seq, new.read_seq),
            "delivered_seq": db.greatest(old.c.delivered_seq, new.delivered_seq),
        },
    )


def new_row(key: MemberKey, cursors: Cursors) -> dict[str, Any]:
    """The row of a member that had none."""
    return {
        "user_id": key[0],
        "conversation_id": key[1],
        "read_seq": cursors.read_seq,
        "delivered_seq": cursors.delivered_seq,
        "min_seq": 0,
        "pinned": False,
        "muted": False,
    }


async def positions(
    connection: AsyncConnection, keys: Collection[MemberKey]
) -> dict[MemberKey, Position]:
    """Of those of the keys that have a row."""
    query = _of_keys(
        select(
            _m.user_id, _m.conversation_id, _m.read_seq, _m.delivered_seq, _m.min_seq, _m.left_seq
        ),
        keys,
    )
    return {(row[0], row[1]): Position(*row[2:]) for row in await connection.execute(query)}


async def min_seqs(
    connection: AsyncConnection, user_id: int, conversation_ids: Collection[str]
) -> dict[str, int]:
    """What is hidden from the user: messages up to this seq. Missing where there is no row."""
    query = select(_m.conversation_id, _m.min_seq).where(
        _m.user_id == user_id, _m.conversation_id.in_(conversation_ids)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def of_conversation(
    connection: AsyncConnection, conversation_id: str, *, limit: int
) -> list[int]:
    """User ids of at most ``limit`` of those who have not left."""
    query = (
        select(_m.user_id)
        .where(_m.conversation_id == conversation_id, _m.left_seq.is_(None))
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


async def rows(
    connection: AsyncConnection, keys: Collection[MemberKey]
) -> dict[MemberKey, dict[str, Any]]:
    """Whole rows, of those of the keys that have one."""
    if not keys:
        return {}
    query = _of_keys(select(conversation_members), keys)
    found = (await connection.execute(query)).mappings()
    return {(row["user_id"], row["conversation_id"]): dict(row) for row in found}


async def put(
    db: Database, connection: AsyncConnection, changed: Sequence[Mapping[str, Any]]
) -> None:
    """Writes what a group change makes of rows; cursors never move back."""
    statement = db.upsert(
        conversation_members,
        ["user_id", "conversation_id"],
        lambda old, new: {
            "read_seq": db.greatest(old.c.read_seq, new.read_seq),
            "delivered_seq": db.greatest(old.c.delivered_seq, new.delivered_seq),
            "min_seq": db.greatest(old.c.min_seq, new.min_seq),
            "left_seq": new.left_seq,
            "changed_at": new.changed_at,
        },
    )
    await connection.execute(statement, list(changed))


async def leave_all(
    connection: AsyncConnection, conversation_id: str, seq: int, changed_at: int
) -> None:
    """Nobody sees anything later than ``seq``."""
    there = (_m.conversation_id == conversation_id, _m.left_seq.is_(None))
    statement = update(conversation_members).where(*there)
    await connection.execute(statement.values(left_seq=seq, changed_at=changed_at))


async def set_own(
    db: Database,
    connection: AsyncConnection,
    key: MemberKey,
    *,
    min_seq: int = 0,
    **flags: bool,
) -> None:
    """Sets ``pinned`` or ``muted``, reads and hides up to ``min_seq``; makes a missing row."""
    statement = db.upsert(
        conversation_members,
        ["user_id", "conversation_id"],
        lambda old, new: {
            "read_seq": db.greatest(old.c.read_seq, new.read_seq),
            "delivered_seq": db.greatest(old.c.delivered_seq, new.delivered_seq),
            "min_seq": db.greatest(old.c.min_seq, new.min_seq),
            **{name: new[name] for name in flags},
        },
    )
    row = new_row(key, Cursors(min_seq, min_seq)) | {"min_seq": min_seq} | flags
    await connection.execute(statement, [row])


def _of_keys(query: Select[Any], keys: Collection[MemberKey]) -> Select[Any]:
    """By the primary key. Where another index begins with a part of it, MariaDB and MySQL weigh both
    for each key, at a cost that grows with the square of their number: seconds for a thousand."""
    # What no column can hold, they do not compare with one.
    possible = [key for key in keys if key[1].isascii()]
    query = query.where(tuple_(_m.user_id, _m.conversation_id).in_(possible))
    return query.with_hint(conversation_members, "FORCE INDEX (PRIMARY)", "mysql")
