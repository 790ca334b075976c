"""Queries of `groups`. One that was dismissed is not there for any of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from group_service.model.tables import JoinPolicy, Role, group_members, groups
from im_common.sql.keys import is_beyond

_g = groups.c
_m = group_members.c
_is_there = _g.dismissed_at == 0


@dataclass(frozen=True, slots=True)
class Group:
    group_id: int
    name: str
    avatar: str
    announcement: str
    owner_id: int
    join_policy: JoinPolicy
    muted: bool
    member_count: int
    # Times are Unix milliseconds.
    created_at: int
    description: str = ""
    changed_at: int = 0
    dismissed_at: int = 0


@dataclass(frozen=True, slots=True)
class Membership:
    """A group of a user, and since when it is."""

    group: Group
    joined_at: int


def add(
    connection: Connection,
    *,
    name: str,
    owner_id: int,
    join_policy: JoinPolicy,
    member_count: int,
    created_at: int,
) -> Group:
    values: dict[str, Any] = {
        "name": name,
        "avatar": "",
        "announcement": "",
        "owner_id": owner_id,
        "join_policy": join_policy,
        "muted": False,
        "member_count": member_count,
        "created_at": created_at,
        "changed_at": created_at,
    }
    result = connection.execute(insert(groups).values(values))
    key = result.inserted_primary_key
    assert key is not None
    return Group(group_id=key[0], **values)


def lock(connection: Connection, group_id: int) -> Group | None:
    """Until the transaction ends the group, its members and its requests are as they are: whoever
    changes them takes this lock first, by a statement of its own, as one reads what was committed
    before it began to wait."""
    query = select(*groups.columns).where(_g.group_id == group_id, _is_there).with_for_update()
    row = connection.execute(query).one_or_none()
    return _group(row) if row is not None else None


def get(connection: Connection, group_id: int, user_id: int) -> tuple[Group, Role | None] | None:
    """The group and the role of ``user_id`` in it (None for no member), or None for no group."""
    query = (
        select(*groups.columns, _m.role)
        .outerjoin(group_members, (_m.group_id == _g.group_id) & (_m.user_id == user_id))
        .where(_g.group_id == group_id, _is_there)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    *values, role = row
    return _group(values), Role(role) if role is not None else None


def page_of_user(
    connection: Connection, user_id: int, *, before: Sequence[int] | None, limit: int
) -> list[Membership]:
    """Joined last first; ``before`` is (joined_at, group_id) of the last one of the page before."""
    query = (
        select(*groups.columns, _m.joined_at)
        .join(group_members, _m.group_id == _g.group_id)
        .where(_m.user_id == user_id)
    )
    if before is not None:
        query = query.where(is_beyond((_m.joined_at, _m.group_id), before, descending=True))
    query = query.order_by(_m.joined_at.desc(), _m.group_id.desc()).limit(limit)
    rows = connection.execute(query)
    return [Membership(_group(row[:-1]), row[-1]) for row in rows]


def find(
    connection: Connection,
    *,
    group_id: int,
    user_id: int,
    text: str,
    below: int | None,
    limit: int,
) -> list[Group]:
    """Newest first, those with lower ids than ``below``; 0 and an empty ``text`` leave nothing out. A
    text is looked for in all names."""
    query = select(*groups.columns).where(_is_there)
    if group_id:
        query = query.where(_g.group_id == group_id)
    if user_id:
        query = query.join(group_members, _m.group_id == _g.group_id).where(_m.user_id == user_id)
    if text:
        query = query.where(_g.name.contains(text, autoescape=True))
    if below is not None:
        query = query.where(_g.group_id < below)
    rows = connection.execute(query.order_by(_g.group_id.desc()).limit(limit))
    return [_group(row) for row in rows]


def sizes(connection: Connection, group_ids: Collection[int]) -> list[tuple[int, bool, int]]:
    """(group_id, muted, member_count) of those of the groups that are there."""
    query = select(_g.group_id, _g.muted, _g.member_count)
    rows = connection.execute(query.where(_g.group_id.in_(group_ids), _is_there))
    return [(row[0], row[1], row[2]) for row in rows]


def change(connection: Connection, group_id: int, **values: Any) -> None:
    """Sets columns; the caller has the lock."""
    connection.execute(update(groups).where(_g.group_id == group_id).values(values))


def _group(values: Sequence[Any]) -> Group:
    named = dict(zip((column.name for column in groups.columns), values, strict=True))
    return Group(**named | {"join_policy": JoinPolicy(named["join_policy"])})
