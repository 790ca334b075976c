"""Queries of `group_join_requests`. Who changes something has the lock of the group."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from group_service.model.tables import Status, group_join_requests

_t = group_join_requests.c
_columns = (_t.request_id, _t.group_id, _t.user_id, _t.message, _t.status, _t.created_at)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    request_id: int
    group_id: int
    user_id: int
    message: str
    status: Status
    # Unix milliseconds.
    created_at: int


def add(connection: Connection, group_id: int, user_id: int, message: str, created_at: int) -> int:
    """The id of a new pending one; the user has none in the group."""
    result = connection.execute(
        insert(group_join_requests).values(
            group_id=group_id,
            user_id=user_id,
            message=message,
            status=Status.PENDING,
            pending_user_id=user_id,
            created_at=created_at,
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def get(connection: Connection, group_id: int, request_id: int) -> JoinRequest | None:
    """Of this group."""
    query = select(*_columns).where(_t.request_id == request_id, _t.group_id == group_id)
    return next(iter(_all(connection, query)), None)


def pending_of(
    connection: Connection, group_id: int, user_ids: Collection[int]
) -> list[JoinRequest]:
    query = select(*_columns).where(_t.group_id == group_id, _t.pending_user_id.in_(user_ids))
    return _all(connection, query)


def page(
    connection: Connection, group_id: int, *, before: int | None, limit: int | None
) -> list[JoinRequest]:
    """Pending ones, newest first, with an id below ``before``."""
    query = select(*_columns).where(_t.group_id == group_id, _t.status == Status.PENDING)
    # Not all requests of all groups, newest first, as MariaDB would for a LIMIT.
    index = "FORCE INDEX (ix_group_join_requests_page)"
    query = query.with_hint(group_join_requests, index, "mysql")
    if before is not None:
        query = query.where(_t.request_id < before)
    return _all(connection, query.order_by(_t.request_id.desc()).limit(limit))


def pending_from(connection: Connection, user_id: int, *, limit: int) -> list[JoinRequest]:
    """In any group."""
    query = select(*_columns).where(_t.pending_user_id == user_id)
    return _all(connection, query.limit(limit))


def decide(connection: Connection, request_ids: Collection[int], status: Status) -> None:
    query = update(group_join_requests).where(_t.request_id.in_(request_ids))
    connection.execute(query.values(status=status, pending_user_id=None))


def reject_all(connection: Connection, group_id: int) -> None:
    """Those of a group that are pending."""
    query = update(group_join_requests).where(_t.group_id == group_id, _t.status == Status.PENDING)
    connection.execute(query.values(status=Status.REJECTED, pending_user_id=None))


def _all(connection: Connection, query: Select[Any]) -> list[JoinRequest]:
    rows = connection.execute(query)
    return [JoinRequest(row[0], row[1], row[2], row[3], Status(row[4]), row[5]) for row in rows]
