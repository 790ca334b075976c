"""Queries of `friend_requests`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, insert, or_, select, tuple_, update

from friend_service.model.tables import Status, friend_requests

_t = friend_requests.c
_columns = (_t.request_id, _t.from_user_id, _t.to_user_id, _t.message, _t.status, _t.created_at)


@dataclass(frozen=True, slots=True)
class FriendRequest:
    request_id: int
    from_user_id: int
    to_user_id: int
    message: str
    status: Status
    # Unix milliseconds.
    created_at: int


def add(
    connection: Connection, from_user_id: int, to_user_id: int, message: str, created_at: int
) -> int:
    """The id of a new pending one."""
    result = connection.execute(
        insert(friend_requests).values(
            from_user_id=from_user_id,
            to_user_id=to_user_id,
            message=message,
            status=Status.PENDING,
            pending_low=min(from_user_id, to_user_id),
            pending_high=max(from_user_id, to_user_id),
            created_at=created_at,
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def get(connection: Connection, request_id: int) -> FriendRequest | None:
    return _one(connection, select(*_columns).where(_t.request_id == request_id))


def pending_between(connection: Connection, a: int, b: int) -> FriendRequest | None:
    """Also when it is too old."""
    pair = _t.pending_low == min(a, b), _t.pending_high == max(a, b)
    return _one(connection, select(*_columns).where(*pair))


def decide(connection: Connection, request_id: int, status: Status) -> None:
    query = update(friend_requests).where(_t.request_id == request_id)
    connection.execute(query.values(status=status, pending_low=None, pending_high=None))


def pending_from(connection: Connection, user_id: int, *, since: int) -> tuple[int, int | None]:
    """How many of the user's are pending that were made after ``since``, and the oldest one's time."""
    query = select(func.count(), func.min(_t.created_at)).where(
        _t.from_user_id == user_id, _t.status == Status.PENDING, _t.created_at > since
    )
    count, oldest = (connection.execute(query)).one()
    return count, oldest


def page(
    connection: Connection,
    user_id: int,
    *,
    incoming: bool,
    status: Status | None,
    since: int,
    before: Sequence[int] | None,
    limit: int,
) -> list[FriendRequest]:
    """Newest first; of any status with None. Pending ones made up to ``since`` are expired;
    ``before`` is (created_at, request_id) of the last one of the page before."""
    query = select(*_columns).where((_t.to_user_id if incoming else _t.from_user_id) == user_id)
    too_old = and_(_t.status == Status.PENDING, _t.created_at <= since)
    if status is Status.EXPIRED:
        query = query.where(or_(_t.status == Status.EXPIRED, too_old))
    elif status is not None:
        query = query.where(_t.status == status)
    if status is Status.PENDING:
        query = query.where(_t.created_at > since)
    if before is not None:
        query = query.where(tuple_(_t.created_at, _t.request_id) < tuple(before))
    query = query.order_by(_t.created_at.desc(), _t.request_id.desc()).limit(limit)
    return [_request(*row) for row in connection.execute(query)]


def _one(connection: Connection, query: Select[Any]) -> FriendRequest | None:
    row = (connection.execute(query)).first()
    return _request(*row) if row is not None else None


def _request(
    request_id: int, from_user_id: int, to_user_id: int, message: str, status: int, created_at: int
) -> FriendRequest:
    return FriendRequest(request_id, from_user_id, to_user_id, message, Status(status), created_at)
