"""Queries on messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    func,
    or_,
    select,
    union_all,
    update,
)

from chat_service.model.content import EMPTIED
from chat_service.model.tables import EVERYBODY, NORMAL, RECALLED, deleted_messages, messages
from im_common.domain import frames
from im_common.domain.ids import may_be_message_id
from im_common.runtime.chunks import chunks
from im_common.sql.db import Upsert
from im_common.sql.keys import is_one_of

_t = messages.c
# So many ranges of messages are read by one query.
_RANGES = 50
_TAKE_OFF = Upsert(deleted_messages, ["conversation_id", "seq", "user_id"])


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a message is."""

    message_id: str
    conversation_id: str
    seq: int
    timestamp: int


class MessageFacts(NamedTuple):
    """What decides on taking a message back."""

    conversation_id: str
    seq: int
    sender_id: int
    created_at: int
    is_recalled: bool
    # Of a group: written by the system.
    is_change: bool


def facts(connection: Connection, message_ids: Collection[str]) -> dict[str, MessageFacts]:
    """Of those of the messages that exist, by one query on a unique key."""
    # What no column can hold, MariaDB does not compare with one.
    message_ids = [one for one in message_ids if may_be_message_id(one)]
    if not message_ids:
        return {}
    place = (_t.message_id, _t.conversation_id, _t.seq, _t.sender_id, _t.created_at)
    query = select(*place, _t.status, _t.content_type).where(_t.message_id.in_(message_ids))
    return {
        row[0]: MessageFacts(
            *row[1:5], is_recalled=row[5] == RECALLED, is_change=row[6] == frames.SYSTEM
        )
        for row in connection.execute(query)
    }


def empty(connection: Connection, places: Collection[tuple[str, int]]) -> None:
    """Takes the content of messages away for good; what is left is their place. They count as unread
    no longer."""
    if not places:
        return
    nothing = EMPTIED | {"status": RECALLED}
    seqs: dict[str, list[int]] = defaultdict(list)
    for conversation_id, seq in places:
        seqs[conversation_id].append(seq)
    # Not as rows (a, b) IN ((1, 2)): for a single one MariaDB's UPDATE reads the whole table.
    where = or_(*(and_(_t.conversation_id == on, _t.seq.in_(of)) for on, of in seqs.items()))
    connection.execute(update(messages).where(where).values(nothing))
    _take_off(connection, EVERYBODY, places)


def hide(connection: Connection, user_id: int, conversation_id: str, seq: int) -> None:
    """For this user alone. Safe to repeat."""
    _take_off(connection, user_id, [(conversation_id, seq)])


def _take_off(connection: Connection, user_id: int, places: Iterable[tuple[str, int]]) -> None:
    rows = [{"conversation_id": on, "seq": seq, "user_id": user_id} for on, seq in places]
    _TAKE_OFF.execute(connection, rows)


def page(
    connection: Connection,
    conversation_id: str,
    *,
    reader: int,
    above: int,
    below: int | None,
    limit: int,
    newest: bool,
    recalled: bool = True,
) -> list[Row[Any]]:
    """Messages with above < seq < below, in ascending seq: the first or the newest ``limit``, with or
    without those that were ``recalled``."""
    query = _visible_to(reader).where(_t.conversation_id == conversation_id, _t.seq > above)
    if not recalled:
        query = query.where(_t.status == NORMAL)
    if below is not None:
        query = query.where(_t.seq < below)
    query = query.order_by(_t.seq.desc() if newest else _t.seq).limit(limit)
    rows = list(connection.execute(query))
    return rows[::-1] if newest else rows


class Range(NamedTuple):
    """Messages of one conversation with above < seq <= upto."""

    conversation_id: str
    above: int
    upto: int


def within(ranges: Iterable[Range], table: Table = messages) -> ColumnElement[bool]:
    """What is in one of the ranges, of a table that has conversation_id and seq."""
    columns = table.c
    return or_(
        *(
            and_(
                columns.conversation_id == part.conversation_id,
                columns.seq.between(part.above + 1, part.upto),
            )
            for part in ranges
        )
    )


def in_ranges(connection: Connection, reader: int, ranges: Sequence[Range]) -> list[Row[Any]]:
    """The messages of many ranges by one query, each conversation's in ascending seq."""
    query = _visible_to(reader).where(within(ranges)).order_by(_t.conversation_id, _t.seq)
    return list(connection.execute(query))


def at_places(
    connection: Connection, reader: int, places: Collection[tuple[str, int]]
) -> dict[str, Row[Any]]:
    """One message of each conversation, by (conversation_id, seq)."""
    if not places:
        return {}
    query = _visible_to(reader).where(is_one_of((_t.conversation_id, _t.seq), places))
    return {row.conversation_id: row for row in connection.execute(query)}


def newest_of(
    connection: Connection, reader: int, places: Collection[tuple[str, int]]
) -> dict[str, Row[Any]]:
    """The newest message of each conversation that the reader may see, above a seq; by one query that
    goes down from the end of each as far as the reader has deleted."""
    if not places:
        return {}
    parts = [
        select(
            _visible_to(reader)
            .where(_t.conversation_id == conversation_id, _t.seq > above)
            .order_by(_t.seq.desc())
            .limit(1)
            .subquery()
        )
        for conversation_id, above in places
    ]
    found = connection.execute(union_all(*parts))
    return {row.conversation_id: row for row in found}


def senders(
    connection: Connection, places: Collection[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Who wrote those of the messages that exist, by (conversation_id, seq)."""
    query = select(_t.conversation_id, _t.seq, _t.sender_id).where(
        is_one_of((_t.conversation_id, _t.seq), places)
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def writers(connection: Connection, ranges: Sequence[Range]) -> dict[str, dict[int, int]]:
    """Who wrote what is in the ranges, by conversation: each with the newest of theirs."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    newest = select(_t.conversation_id, _t.sender_id, func.max(_t.seq))
    for some in chunks(ranges, _RANGES):
        query = newest.where(within(some)).group_by(_t.conversation_id, _t.sender_id)
        for row in connection.execute(query):
            found[row[0]][row[1]] = row[2]
    return found


def undeleted(query: Select[Any], reader: int) -> Select[Any]:
    """Without what the reader has deleted for itself, of a query that has ``messages``. By an outer
    join, which looks up the keys of these messages: for NOT EXISTS, MariaDB reads all that anybody
    has deleted."""
    d = deleted_messages.c
    of_reader = and_(d.conversation_id == _t.conversation_id, d.seq == _t.seq, d.user_id == reader)
    query = query.outerjoin(deleted_messages, of_reader).where(d.user_id.is_(None))
    # Not by the other index: it would read all that the reader has deleted.
    return query.with_hint(deleted_messages, "FORCE INDEX (PRIMARY)", "mysql")


def _visible_to(reader: int) -> Select[Any]:
    return undeleted(select(messages), reader)
