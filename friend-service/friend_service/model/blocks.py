"""Queries of `blocked_users`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select
from sqlalchemy import delete as sql_delete

from friend_service.model.tables import blocked_users
from im_common.sql.db import Upsert
from im_common.sql.keys import is_beyond, is_one_of

_t = blocked_users.c
_INSERT = Upsert(blocked_users, ["user_id", "blocked_id"])
# Built once: every batch of messages may run it.
_EXISTING = (
    select(_t.user_id, _t.blocked_id)
    .where(is_one_of((_t.user_id, _t.blocked_id), bindparam("pairs", expanding=True)))
    # With a second index that begins with user_id MariaDB's plan is at the cost of the square.
    .with_hint(blocked_users, "FORCE INDEX (PRIMARY)", "mysql")
)


@dataclass(frozen=True, slots=True)
class BlockedUser:
    user_id: int
    created_at: int


def insert(connection: Connection, user_id: int, blocked_id: int, created_at: int) -> None:
    """A second block of the same user keeps the first one's time."""
    row = {"user_id": user_id, "blocked_id": blocked_id, "created_at": created_at}
    _INSERT.execute(connection, [row])


def delete(connection: Connection, user_id: int, blocked_id: int) -> bool:
    """False when there is no such block."""
    query = sql_delete(blocked_users).where(_t.user_id == user_id, _t.blocked_id == blocked_id)
    return connection.execute(query).rowcount > 0


def between(connection: Connection, a: int, b: int) -> set[int]:
    """Which of the two has blocked the other one."""
    found = connection.execute(_EXISTING, {"pairs": [(a, b), (b, a)]})
    return {row[0] for row in found}


def page(
    connection: Connection, user_id: int, *, before: Sequence[int] | None, limit: int
) -> list[BlockedUser]:
    """Newest first; ``before`` is (created_at, blocked_id) of the last one of the page before."""
    query = select(_t.blocked_id, _t.created_at).where(_t.user_id == user_id)
    if before is not None:
        query = query.where(is_beyond((_t.created_at, _t.blocked_id), before, descending=True))
    query = query.order_by(_t.created_at.desc(), _t.blocked_id.desc()).limit(limit)
    return [BlockedUser(*row) for row in connection.execute(query)]


def lists(
    connection: Connection, user_ids: Collection[int], *, limit: int | None
) -> list[tuple[int, int]]:
    """Of (user, blocked user), in order, at most ``limit``."""
    query = select(_t.user_id, _t.blocked_id).where(_t.user_id.in_(user_ids))
    query = query.order_by(_t.user_id, _t.blocked_id).limit(limit)
    return [(row[0], row[1]) for row in connection.execute(query)]


def existing(connection: Connection, pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the (user_id, blocked_id) pairs that are in the table, by one query."""
    if not pairs:
        return set()
    return {(row[0], row[1]) for row in connection.execute(_EXISTING, {"pairs": list(pairs)})}
