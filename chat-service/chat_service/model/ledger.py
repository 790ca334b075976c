"""The consumer's way to the database: what it runs for each batch, made to cost little."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, insert, literal_column, select

from chat_service.model.messages import Place
from chat_service.model.tables import conversations, messages
from im_common.domain.in_flight import RetryKey
from im_common.sql.db import Upsert
from im_common.sql.direct import PreparedInsert, select_in
from im_common.sql.keys import is_one_of

# The values of a message's row, in the order of the table's columns.
Row = tuple[Any, ...]


class News(NamedTuple):
    """What new messages make of their conversation: the values of its row, but for those that no
    message changes."""

    conversation_id: str
    type: int
    group_id: int | None
    # Which of them is the last that changes who is a member, counted from 1; 0 for none.
    roster_seq: int
    # How many they are.
    last_seq: int
    last_message_id: str
    last_message_at: int


class Seqs(NamedTuple):
    """Of a conversation's last message, and of the last one that changed who is a member."""

    last_seq: int
    roster_seq: int


_m = messages.c
# A prepared statement has no parameters but those of its row.
_ZERO: Any = literal_column("0")
_FIND = select(
    _m.sender_id, _m.client_msg_id, _m.message_id, _m.conversation_id, _m.seq, _m.created_at
).where(is_one_of((_m.sender_id, _m.client_msg_id), bindparam("keys", expanding=True)))
_RESERVE = PreparedInsert(
    Upsert(
        conversations,
        ["conversation_id"],
        lambda old, new: {
            "roster_seq": case(
                (new.roster_seq > _ZERO, old.last_seq + new.roster_seq), else_=old.roster_seq
            ),
            "last_seq": old.last_seq + new.last_seq,
            "last_message_id": new.last_message_id,
            "last_message_at": new.last_message_at,
        },
    ),
    News._fields,
)
_SEQS = (
    "SELECT conversation_id, last_seq, roster_seq FROM conversations WHERE conversation_id IN ({})"
)
_INSERT = PreparedInsert(insert(messages), messages.c.keys())


def find_places(connection: Connection, keys: Collection[RetryKey]) -> dict[RetryKey, Place]:
    """Those of the messages that are stored, by one query on a unique key."""
    rows = connection.execute(_FIND, {"keys": list(keys)})
    return {RetryKey(row[0], row[1]): Place(*row[2:]) for row in rows}


def reserve(connection: Connection, news: Sequence[News]) -> dict[str, Seqs]:
    """Makes room for new messages at the end of their conversations, which are made when missing, and
    gives the seqs of each after that.

    The rows stay locked until the end of the transaction, so two writers take turns; both must lock
    in the same order: give them sorted by conversation_id.
    """
    if connection.dialect.insert_returning:
        found = _RESERVE.returning(connection, news, "conversation_id, last_seq, roster_seq")
    else:
        _RESERVE.put_off(connection, news)
        found = select_in(connection, _SEQS, [one.conversation_id for one in news])
    return {row[0]: Seqs(row[1], row[2]) for row in found}


def insert_messages(connection: Connection, rows: Sequence[Row]) -> None:
    """At the end of the transaction at the latest."""
    _INSERT.put_off(connection, rows)
