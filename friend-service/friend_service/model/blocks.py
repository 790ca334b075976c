"""Table `blocked_users`: (user_id, blocked_id) says that user_id has blocked blocked_id."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Table,
    bindparam,
    select,
    tuple_,
)
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from friend_service.model.tables import metadata
from im_common.sql.db import MYSQL_TABLE, is_duplicate_key

blocked_users = Table(
    "blocked_users",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("blocked_id", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_blocked_users_page", "user_id", "created_at", "blocked_id"),
    **MYSQL_TABLE,
)
_t = blocked_users.c
# Built once: every batch of messages runs it.
_EXISTING = select(_t.user_id, _t.blocked_id).where(
    tuple_(_t.user_id, _t.blocked_id).in_(bindparam("pairs", expanding=True))
)


@dataclass(frozen=True, slots=True)
class BlockedUser:
    user_id: int
    created_at: int


async def insert(
    connection: AsyncConnection, user_id: int, blocked_id: int, created_at: int
) -> bool:
    """Whether that is new; a second block of the same user keeps the first one's time."""
    row = {"user_id": user_id, "blocked_id": blocked_id, "created_at": created_at}
    try:
        await connection.execute(sql_insert(blocked_users).values(**row))
    except IntegrityError as error:
        if is_duplicate_key(error):
            return False
        raise
    return True


async def delete(connection: AsyncConnection, user_id: int, blocked_id: int) -> bool:
    """Whether there was one."""
    done = await connection.execute(
        sql_delete(blocked_users).where(_t.user_id == user_id, _t.blocked_id == blocked_id)
    )
    return bool(done.rowcount)


async def page(
    connection: AsyncConnection, user_id: int, *, before: Sequence[int] | None, limit: int
) -> list[BlockedUser]:
    """Newest first; ``before`` is (created_at, blocked_id) of the last one of the page before."""
    query = select(_t.blocked_id, _t.created_at).where(_t.user_id == user_id)
    if before is not None:
        query = query.where(tuple_(_t.created_at, _t.blocked_id) < tuple(before))
    query = query.order_by(_t.created_at.desc(), _t.blocked_id.desc()).limit(limit)
    return [BlockedUser(*row) for row in await connection.execute(query)]


def existing(connection: Connection, pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the (user_id, blocked_id) pairs that are in the table, by one query."""
    return {(row[0], row[1]) for row in connection.execute(_EXISTING, {"pairs": list(pairs)})}
