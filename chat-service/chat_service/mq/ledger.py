"""The consumer's way to the database: what it runs for each batch, made to cost little.

Statements are built once, for `Database.run_read` and `run_write`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, tuple_

from chat_service.model.members import Cursors, MemberKey, advancing, new_row
from chat_service.model.messages import Place
from chat_service.model.tables import conversations, messages
from im_common.domain.in_flight import RetryKey
from im_common.sql.db import Database
from im_common.sql.direct import Script, Statement

Row = Mapping[str, Any]

_m = messages.c
_FIND = select(
    _m.sender_id, _m.client_msg_id, _m.message_id, _m.conversation_id, _m.seq, _m.created_at
).where(tuple_(_m.sender_id, _m.client_msg_id).in_(bindparam("keys", expanding=True)))
_LAST_SEQS = "SELECT conversation_id, last_seq FROM conversations WHERE conversation_id IN ({})"


@lru_cache(maxsize=4)
def ledger_of(db: Database) -> Ledger:
    """The one of this database, with its statements."""
    return Ledger(db)


class Ledger:
    """Finds places and writes batches."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._reserve = db.prepare(
            db.upsert(
                conversations,
                ["conversation_id"],
                lambda old, new: {
                    "last_seq": old.c.last_seq + new.last_seq,
                    "last_message_id": new.last_message_id,
                    "last_message_at": new.last_message_at,
                },
            ),
            [column.name for column in conversations.c if column.name != "expired_seq"],
        )
        self._insert = db.prepare(insert(messages), messages.c.keys())
        self._advance = db.prepare(advancing(db), list(new_row((0, ""), Cursors(0, 0))))

    # --- queries -----------------------------------------------------------------------------

    def find_places(
        self, connection: Connection, keys: Collection[RetryKey]
    ) -> dict[RetryKey, Place]:
        """Those of the messages that are stored, by one query on a unique key."""
        rows = connection.execute(_FIND, {"keys": list(keys)})
        return {RetryKey(row[0], row[1]): Place(*row[2:]) for row in rows}

    def reserve(self, rows: Sequence[Row]) -> Script[dict[str, int]]:
        """Adds each row's `last_seq` (a count of new messages) to its conversation, made when
        missing, and gives the new last seq of each.

        The rows stay locked until the end of the transaction, so two writers take turns; both must
        lock in the same order: give the rows sorted by conversation_id.
        """
        if self._db.has_returning:
            return dict((yield self._reserve.returning(rows, "conversation_id, last_seq")))
        yield self._reserve.many(rows)
        marks = self._db.placeholders(len(rows))
        ids = tuple(row["conversation_id"] for row in rows)
        return dict((yield Statement(_LAST_SEQS.format(marks), ids)))

    def insert_messages(self, rows: Sequence[Row]) -> Statement:
        """One multi-row insert."""
        return self._insert.many(rows)

    def advance(self, moves: Mapping[MemberKey, Cursors]) -> Statement:
        """As ``members.advance``."""
        return self._advance.many([new_row(key, cursors) for key, cursors in sorted(moves.items())])
