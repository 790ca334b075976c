"""Queries of `friendships`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from friend_service.model.tables import friendships
from im_common.sql.keys import is_one_of

_t = friendships.c
_EXISTING = select(_t.user_id, _t.friend_id).where(
    is_one_of((_t.user_id, _t.friend_id), bindparam("pairs", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Friendship:
    """As one of the two sees it."""

    friend_id: int
    remark: str
    # Unix milliseconds.
    created_at: int


def add(connection: Connection, a: int, b: int, created_at: int) -> None:
    """Both directions."""
    rows = [
        {"user_id": user_id, "friend_id": friend_id, "remark": "", "created_at": created_at}
        for user_id, friend_id in ((min(a, b), max(a, b)), (max(a, b), min(a, b)))
    ]
    connection.execute(insert(friendships), rows)


def remove(connection: Connection, a: int, b: int) -> bool:
    """Both directions; False when they are no friends."""
    both = or_(and_(_t.user_id == a, _t.friend_id == b), and_(_t.user_id == b, _t.friend_id == a))
    return connection.execute(delete(friendships).where(both)).rowcount > 0


def are_friends(connection: Connection, a: int, b: int) -> bool:
    query = select(_t.user_id).where(_t.user_id == a, _t.friend_id == b)
    return connection.execute(query).first() is not None


def set_remark(connection: Connection, user_id: int, friend_id: int, remark: str) -> None:
    query = update(friendships).where(_t.user_id == user_id, _t.friend_id == friend_id)
    connection.execute(query.values(remark=remark))


def of_user(
    connection: Connection, user_id: int, friend_ids: Collection[int] | None = None
) -> list[Friendship]:
    """All of the user's, or those with ``friend_ids``."""
    query = select(_t.friend_id, _t.remark, _t.created_at).where(_t.user_id == user_id)
    if friend_ids is not None:
        query = query.where(_t.friend_id.in_(friend_ids))
    return [Friendship(*row) for row in connection.execute(query)]


def lists(
    connection: Connection, user_ids: Collection[int], *, limit: int | None
) -> list[tuple[int, int]]:
    """Of (user, friend), in order, at most ``limit``."""
    query = select(_t.user_id, _t.friend_id).where(_t.user_id.in_(user_ids))
    query = query.order_by(_t.user_id, _t.friend_id).limit(limit)
    return [(row[0], row[1]) for row in connection.execute(query)]


def existing(connection: Connection, pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the (user, friend) pairs that are in the table, by one query."""
    if not pairs:
        return set()
    return {(row[0], row[1]) for row in connection.execute(_EXISTING, {"pairs": list(pairs)})}
