"""Queries of `group_creations`."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from group_service.model.groups import Group, get
from group_service.model.tables import group_creations

KEPT_MS = 2 * 86_400_000

_t = group_creations.c


def find(connection: Connection, creator_id: int, key: str) -> Group | None:
    """The group that a call of this name made, as it is now; None also when it was dismissed."""
    query = select(_t.group_id).where(_t.creator_id == creator_id, _t.creation_key == key)
    group_id = connection.execute(query).scalar()
    found = get(connection, group_id, creator_id) if group_id is not None else None
    return found[0] if found else None


def add(connection: Connection, creator_id: int, key: str, group_id: int, *, now: int) -> None:
    """Raises IntegrityError when another call of this name was quicker. The creator's old ones go."""
    connection.execute(
        delete(group_creations).where(
            _t.creator_id == creator_id, _t.created_at < now - KEPT_MS, _t.creation_key != key
        )
    )
    connection.execute(
        insert(group_creations).values(
            creator_id=creator_id, creation_key=key, group_id=group_id, created_at=now
        )
    )
