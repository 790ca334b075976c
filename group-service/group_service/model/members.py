"""Queries of `group_members`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from group_service.model.tables import Role, group_members

_m = group_members.c


@dataclass(frozen=True, slots=True)
class Member:
    user_id: int
    role: Role
    muted_until: int
    joined_at: int


def add(
    connection: Connection,
    group_id: int,
    roles: Iterable[tuple[int, Role]],
    *,
    joined_at: int,
) -> None:
    """Adds each (user, role); none of them may be a member yet."""
    rows = [
        {
            "group_id": group_id,
            "user_id": user_id,
            "role": role,
            "muted_until": 0,
            "joined_at": joined_at,
        }
        for user_id, role in roles
    ]
    connection.execute(insert(group_members), rows)


def page(connection: Connection, group_id: int, *, after: int, limit: int) -> list[Member]:
    """In order of their ids, those above ``after``."""
    query = (
        select(_m.user_id, _m.role, _m.muted_until, _m.joined_at)
        .where(_m.group_id == group_id, _m.user_id > after)
        .order_by(_m.user_id)
        .limit(limit)
    )
    rows = connection.execute(query)
    return [Member(row[0], Role(row[1]), row[2], row[3]) for row in rows]


def existing(connection: Connection, group_id: int, user_ids: Collection[int]) -> set[int]:
    """Those of the users who are members."""
    query = select(_m.user_id).where(_m.group_id == group_id, _m.user_id.in_(user_ids))
    return set((connection.execute(query)).scalars())


def all_of(connection: Connection, group_ids: Collection[int]) -> list[tuple[int, int, int, int]]:
    """(group_id, user_id, role, muted_until) of all members of the groups, by one query."""
    query = select(_m.group_id, _m.user_id, _m.role, _m.muted_until).where(
        _m.group_id.in_(group_ids)
    )
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
