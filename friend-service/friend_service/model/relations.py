"""Queries of `relations`: the lock on what is between two users, and versions of lists of friends."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select, update

from friend_service.model.tables import relations
from im_common.sql.db import Upsert

_t = relations.c
_LOCK = Upsert(relations, ["user_id"])


def lock(connection: Connection, user_ids: Collection[int]) -> None:
    """Until the transaction ends nobody else changes anything between these users and others."""
    # On MySQL an insert that meets a row locks it. All take the locks in the order of the ids.
    rows = [{"user_id": user_id, "version": 0} for user_id in sorted(set(user_ids))]
    _LOCK.execute(connection, rows)


def bump(connection: Connection, user_ids: Collection[int]) -> None:
    """The lists of friends of these users are other ones now."""
    query = update(relations).where(_t.user_id.in_(user_ids)).values(version=_t.version + 1)
    connection.execute(query)


def version(connection: Connection, user_id: int) -> int:
    """Of the user's list of friends; 0 when it never changed."""
    query = select(_t.version).where(_t.user_id == user_id)
    return connection.execute(query).scalar() or 0
