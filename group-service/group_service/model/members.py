"""Queries of `group_members`. Who changes something has the lock of the group."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from group_service.model.tables import Role, group_members

_m = group_members.c
_columns = (_m.user_id, _m.role, _m.muted_until, _m.joined_at, _m.nickname)


@dataclass(frozen=True, slots=True)
class Member:
    user_id: int
    role: Role
    # Times are Unix milliseconds.
    muted_until: int
    joined_at: int
    # The member's own name in the group.
    nickname: str


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
            "nickname": "",
        }
        for user_id, role in roles
    ]
    connection.execute(insert(group_members), rows)


def get(connection: Connection, group_id: int, user_id: int) -> Member | None:
    return of_users(connection, group_id, [user_id]).get(user_id)


def of_users(connection: Connection, group_id: int, user_ids: Collection[int]) -> dict[int, Member]:
    """Those of the users who are members."""
    query = select(*_columns).where(_m.group_id == group_id, _m.user_id.in_(user_ids))
    return {row[0]: _member(*row) for row in connection.execute(query)}


def change(connection: Connection, group_id: int, user_id: int, **values: Any) -> None:
    """Sets columns of a member."""
    this = (_m.group_id == group_id, _m.user_id == user_id)
    connection.execute(update(group_members).where(*this).values(values))


def remove(connection: Connection, group_id: int, user_id: int) -> None:
    this = (_m.group_id == group_id, _m.user_id == user_id)
    connection.execute(delete(group_members).where(*this))


def remove_all(connection: Connection, group_id: int) -> None:
    connection.execute(delete(group_members).where(_m.group_id == group_id))


def page(connection: Connection, group_id: int, *, after: int, limit: int) -> list[Member]:
    """In order of their ids, those above ``after``."""
    query = (
        select(*_columns)
        .where(_m.group_id == group_id, _m.user_id > after)
        .order_by(_m.user_id)
        .limit(limit)
    )
    return [_member(*row) for row in connection.execute(query)]


def ids(connection: Connection, group_id: int, *, least: Role = Role.MEMBER) -> list[int]:
    """All with this role or a higher one, in order."""
    query = select(_m.user_id).where(_m.group_id == group_id)
    if least > Role.MEMBER:
        query = query.where(_m.role >= least)
    return list(connection.execute(query.order_by(_m.user_id)).scalars())


def heir(connection: Connection, group_id: int, owner_id: int) -> int | None:
    """Who has the group when its owner is no more: of the highest role, who joined first."""
    query = (
        select(_m.user_id)
        .where(_m.group_id == group_id, _m.user_id != owner_id)
        .order_by(_m.role.desc(), _m.joined_at, _m.user_id)
        .limit(1)
    )
    return connection.execute(query).scalar()


def existing(connection: Connection, group_id: int, user_ids: Collection[int]) -> set[int]:
    """Those of the users who are members."""
    query = select(_m.user_id).where(_m.group_id == group_id, _m.user_id.in_(user_ids))
    return set(connection.execute(query).scalars())


def of_pairs(
    connection: Connection, pairs: Collection[tuple[int, int]]
) -> list[tuple[int, int, int, int]]:
    """(group_id, user_id, role, muted_until) of those of the (group_id, user_id) who are members, by
    the primary key."""
    columns = (_m.group_id, _m.user_id, _m.role, _m.muted_until)
    query = select(*columns).where(tuple_(_m.group_id, _m.user_id).in_(pairs))
    # Where another index begins with a part of the key, MariaDB and MySQL weigh both for each pair.
    query = query.with_hint(group_members, "FORCE INDEX (PRIMARY)", "mysql")
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def _member(user_id: int, role: int, muted_until: int, joined_at: int, nickname: str) -> Member:
    return Member(user_id, Role(role), muted_until, joined_at, nickname)
