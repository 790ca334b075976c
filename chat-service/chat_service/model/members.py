"""Queries on where members stand in their conversations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, case, null, select

from chat_service.model import conversations
from chat_service.model.tables import conversation_members
from im_common.sql.db import Upsert, greatest
from im_common.sql.direct import PreparedInsert
from im_common.sql.keys import is_one_of

_m = conversation_members.c

# A user and a conversation.
MemberKey = tuple[int, str]


class Position(NamedTuple):
    """Where a member stands."""

    read_seq: int = 0
    delivered_seq: int = 0
    # Hidden up to here.
    min_seq: int = 0
    # Nothing later is visible; None for who has not left.
    left_seq: int | None = None


class Cursors(NamedTuple):
    """Up to where somebody has a conversation."""

    read_seq: int
    delivered_seq: int


def new_row(key: MemberKey, cursors: Cursors, *, min_seq: int = 0) -> dict[str, Any]:
    """The row of a member that had none."""
    return {
        "user_id": key[0],
        "conversation_id": key[1],
        "read_seq": cursors.read_seq,
        "delivered_seq": cursors.delivered_seq,
        "min_seq": min_seq,
        "pinned": False,
        "muted": False,
    }


def _upsert(more: Callable[[Any, Any], Mapping[str, ColumnElement[Any]]] | None = None) -> Upsert:
    """Cursors never move back."""

    def update(old: Any, new: Any) -> Mapping[str, ColumnElement[Any]]:
        return {
            "read_seq": greatest(old.read_seq, new.read_seq),
            "delivered_seq": greatest(old.delivered_seq, new.delivered_seq),
            **(more(old, new) if more else {}),
        }

    return Upsert(conversation_members, ["user_id", "conversation_id"], update)


_COLUMNS = list(new_row((0, ""), Cursors(0, 0)))
_ADVANCE = PreparedInsert(_upsert(), _COLUMNS)
# Set in the order of the table's columns, as MySQL reads what it has set already: min_seq comes first.
_WRITE = PreparedInsert(
    _upsert(
        lambda old, new: {
            "min_seq": case(
                (old.left_seq.is_(None), old.min_seq), else_=greatest(old.min_seq, new.min_seq)
            ),
            "left_seq": null(),
        }
    ),
    _COLUMNS,
)
_values = itemgetter(*_COLUMNS)
_PUT = _upsert(
    lambda old, new: {
        "min_seq": greatest(old.min_seq, new.min_seq),
        "left_seq": new.left_seq,
        "changed_at": new.changed_at,
    }
)


def advance(connection: Connection, moves: Mapping[MemberKey, Cursors]) -> None:
    """Makes members where there is no row, and moves their cursors forward, never back. Done at the
    end of the transaction at the latest."""
    make(connection, {key: new_row(key, cursors) for key, cursors in moves.items()})


def make(connection: Connection, new: Mapping[MemberKey, Mapping[str, Any]]) -> None:
    """The same, of rows as they are made where there is none."""
    if new:
        # In one order, so that two writers never wait for each other.
        _ADVANCE.put_off(connection, [_values(new[key]) for key in sorted(new)])


def make_writers(connection: Connection, new: Mapping[MemberKey, Mapping[str, Any]]) -> None:
    """The same of those who have written: who had left is back, from ``min_seq`` on, although the
    conversation is told of it only later."""
    if new:
        _WRITE.put_off(connection, [_values(new[key]) for key in sorted(new)])


def positions(connection: Connection, keys: Collection[MemberKey]) -> dict[MemberKey, Position]:
    """Of those of the keys that have a row."""
    query = of_keys(
        select(
            _m.user_id, _m.conversation_id, _m.read_seq, _m.delivered_seq, _m.min_seq, _m.left_seq
        ),
        keys,
    )
    return {(row[0], row[1]): Position(*row[2:]) for row in connection.execute(query)}


def with_last_seqs(
    connection: Connection, keys: Collection[MemberKey]
) -> tuple[dict[MemberKey, Position], dict[str, int]]:
    """``positions``, and the newest seq of those of their conversations that exist."""
    rows = positions(connection, keys)
    return rows, conversations.last_seqs(connection, {key[1] for key in keys})


def of_conversation(connection: Connection, conversation_id: str, *, limit: int) -> list[int]:
    """User ids of at most ``limit`` of those who have not left."""
    query = (
        select(_m.user_id)
        .where(_m.conversation_id == conversation_id, _m.left_seq.is_(None))
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def rows(connection: Connection, keys: Collection[MemberKey]) -> dict[MemberKey, dict[str, Any]]:
    """Whole rows, of those of the keys that have one."""
    if not keys:
        return {}
    query = of_keys(select(conversation_members), keys)
    found = connection.execute(query).mappings()
    return {(row["user_id"], row["conversation_id"]): dict(row) for row in found}


def put(connection: Connection, changed: Sequence[Mapping[str, Any]]) -> None:
    """Writes what a group change makes of rows; cursors never move back."""
    _PUT.execute(connection, list(changed))


def readers(
    connection: Connection, conversation_id: str, seq: int, *, after: int, limit: int, most: int
) -> tuple[list[int], int | None]:
    """Members who have read the message at ``seq``, among the next ``most`` above ``after``: their ids
    in order, and the last that was looked at when there may be more behind (else None)."""
    # As a number of its own: with a condition on a subquery, MySQL would not begin and end there.
    ids = select(_m.user_id).where(_m.conversation_id == conversation_id, _m.user_id > after)
    # By the primary key, MySQL would look at all that these users have.
    by_group = "FORCE INDEX (ix_conversation_members_conversation)"
    ids = ids.with_hint(conversation_members, by_group, "mysql")
    last_one = ids.order_by(_m.user_id).offset(most - 1).limit(1)
    last: int | None = connection.execute(last_one).scalar()
    has_read = and_(_m.read_seq >= seq, _m.min_seq < seq, _m.left_seq.is_(None))
    query = ids.where(has_read).order_by(_m.user_id).limit(limit)
    if last is not None:
        query = query.where(_m.user_id <= last)
    return list(connection.execute(query).scalars()), last


def set_own(connection: Connection, key: MemberKey, /, *, min_seq: int = 0, **flags: bool) -> None:
    """Sets ``pinned`` or ``muted``, reads and hides up to ``min_seq``; makes a missing row."""
    statement = _upsert(
        lambda old, new: {
            "min_seq": greatest(old.min_seq, new.min_seq),
            **{name: new[name] for name in flags},
        }
    )
    row = new_row(key, Cursors(min_seq, min_seq)) | {"min_seq": min_seq} | flags
    statement.execute(connection, [row])


def of_keys(query: Select[Any], keys: Collection[MemberKey]) -> Select[Any]:
    """Of rows with these keys, by the primary key. Where another index begins with a part of it,
    MariaDB and MySQL weigh both for each key, at a cost that grows with the square of their number:
    seconds for a thousand."""
    # What no column can hold, they do not compare with one.
    possible = [key for key in keys if key[1].isascii()]
    query = query.where(is_one_of((_m.user_id, _m.conversation_id), possible))
    return query.with_hint(conversation_members, "FORCE INDEX (PRIMARY)", "mysql")
