"""Table `deletions`: accounts that were deleted and are not forgotten everywhere yet."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Table, delete, insert, select

from auth_service.model.credentials import metadata
from im_common.sql.db import MYSQL_TABLE

deletions = Table(
    "deletions",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at", BigInteger, nullable=False),
    **MYSQL_TABLE,
)
_t = deletions.c


def add(connection: Connection, user_id: int, created_at: int) -> None:
    """Of a user who is not in it."""
    connection.execute(insert(deletions).values(user_id=user_id, created_at=created_at))


def some(connection: Connection, *, limit: int) -> list[tuple[int, int]]:
    """(user_id, created_at)"""
    rows = connection.execute(select(_t.user_id, _t.created_at).order_by(_t.user_id).limit(limit))
    return [(row[0], row[1]) for row in rows]


def remove(connection: Connection, user_id: int) -> None:
    connection.execute(delete(deletions).where(_t.user_id == user_id))
