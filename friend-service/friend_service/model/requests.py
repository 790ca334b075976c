"""Queries of `friend_requests`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, union_all, update

from friend_service.model.tables import Status, friend_requests
from im_common.sql.keys import is_beyond

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


def last_accepted(connection: Connection, a: int, b: int) -> FriendRequest | None:
    """Of the two, whoever asked."""
    found = [
        _one(
            connection,
            _newest(
                (_t.from_user_id == one) & (_t.to_user_id == other) & (_t.status == Status.ACCEPTED)
            ).limit(1),
        )
        for one, other in ((a, b), (b, a))
    ]
    return max((one for one in found if one), key=lambda one: one.request_id, default=None)


def decide(connection: Connection, request_id: int, status: Status) -> None:
    query = update(friend_requests).where(_t.request_id == request_id)
    connection.execute(query.values(status=status, pending_low=None, pending_high=None))


def pending_from(connection: Connection, user_id: int, *, since: int) -> tuple[int, int | None]:
    """How many of the user's are pending that were made after ``since``, and the oldest one's time."""
    query = select(func.count(), func.min(_t.created_at)).where(
        _t.from_user_id == user_id, _t.status == Status.PENDING, _t.created_at > since
    )
    count, oldest = connection.execute(query).one()
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
    of_user = (_t.to_user_id if incoming else _t.from_user_id) == user_id
    if before is not None:
        of_user &= is_beyond((_t.created_at, _t.request_id), before, descending=True)
    # Those of one status are in order in an index; of several, the newest of each.
    parts = [
        select(_newest(of_user & part).limit(limit).subquery()) for part in _parts(status, since)
    ]
    found = union_all(*parts).subquery()
    query = select(found).order_by(found.c.created_at.desc(), found.c.request_id.desc())
    return [_request(*row) for row in connection.execute(query.limit(limit))]


def _parts(status: Status | None, since: int) -> list[ColumnElement[bool]]:
    """Conditions that each hold for requests of one status."""
    if status is None:
        return [_t.status == one for one in Status]
    if status is Status.PENDING:
        return [(_t.status == Status.PENDING) & (_t.created_at > since)]
    too_old = (_t.status == Status.PENDING) & (_t.created_at <= since)
    return [_t.status == status, *([too_old] if status is Status.EXPIRED else [])]


def _newest(where: ColumnElement[bool]) -> Select[Any]:
    order = _t.created_at.desc(), _t.request_id.desc()
    return select(*_columns).where(where).order_by(*order)


def _one(connection: Connection, query: Select[Any]) -> FriendRequest | None:
    row = connection.execute(query).first()
    return _request(*row) if row is not None else None


def _request(
    request_id: int, from_user_id: int, to_user_id: int, message: str, status: int, created_at: int
) -> FriendRequest:
    return FriendRequest(request_id, from_user_id, to_user_id, message, Status(status), created_at)
