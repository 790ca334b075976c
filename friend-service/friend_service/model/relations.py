"""Queries of `relations`: the lock on what is between two users, and versions of lists of friends."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from friend_service.model.tables import relations
from im_common.sql.db import Database

_t = relations.c


async def lock(db: Database, connection: AsyncConnection, user_ids: Collection[int]) -> None:
    """Until the transaction ends nobody else changes anything between these users and others."""
    # On MySQL an insert that meets a row locks it. All take the locks in the order of the ids.
    rows = [{"user_id": user_id, "version": 0} for user_id in sorted(set(user_ids))]
    await connection.execute(db.upsert(relations, ["user_id"], None), rows)


async def bump(connection: AsyncConnection, user_ids: Collection[int]) -> None:
    """The lists of friends of these users are other ones now."""
    query = update(relations).where(_t.user_id.in_(user_ids)).values(version=_t.version + 1)
    await connection.execute(query)


async def version(connection: AsyncConnection, user_id: int) -> int:
    """Of the user's list of friends; 0 when it never changed."""
    query = select(_t.version).where(_t.user_id == user_id)
    return (await connection.execute(query)).scalar() or 0
