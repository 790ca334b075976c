"""The consumer's way to the database: what it runs for each batch, made to cost little.

Statements are built once, and executed on the plain connection that `Database.run_read` and
`run_write` give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, tuple_

from chat_service.model.members import Cursors, Key, new_row
from chat_service.model.messages import Place
from chat_service.model.tables import conversation_members, conversations, messages
from im_common.db import Database

Row = Mapping[str, Any]

_m = messages.c
_FIND = select(
    _m.sender_id, _m.client_msg_id, _m.message_id, _m.conversation_id, _m.seq, _m.created_at
).where(tuple_(_m.sender_id, _m.client_msg_id).in_(bindparam("keys", expanding=True)))
_INSERT = insert(messages)
_LAST_SEQS = select(conversations.c.conversation_id, conversations.c.last_seq).where(
    conversations.c.conversation_id.in_(bindparam("ids", expanding=True))
)


@lru_cache(maxsize=4)
def ledger_of(db: Database) -> Ledger:
    """The one of this database, with its statements."""
    return Ledger(db)


class Ledger:
    """Finds places and writes batches."""

    def __init__(self, db: Database) -> None:
        self._reserve = db.upsert(
            conversations,
            ["conversation_id"],
            lambda old, new: {
                "last_seq": old.c.last_seq + new.last_seq,
                "last_message_id": new.last_message_id,
                "last_message_at": new.last_message_at,
            },
        )
        self._advance = db.upsert(
            conversation_members,
            ["user_id", "conversation_id"],
            lambda old, new: {
                "read_seq": db.greatest(old.c.read_seq, new.read_seq),
                "delivered_seq": db.greatest(old.c.delivered_seq, new.delivered_seq),
            },
        )

    # --- queries -----------------------------------------------------------------------------

    def find_places(self, connection: Connection, keys: Collection[Key]) -> dict[Key, Place]:
        """Those of the (sender_id, client_msg_id) that are stored, by one query on a unique key."""
        rows = connection.execute(_FIND, {"keys": list(keys)})
        return {(row[0], row[1]): Place(*row[2:]) for row in rows}

    def reserve(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        """Adds each row's `last_seq` (a count of new messages) to its conversation, made when
        missing, and gives the new last seq of each.

        The rows stay locked until the end of the transaction, so two writers take turns; both must
        lock in the same order: give the rows sorted by conversation_id.
        """
        connection.execute(self._reserve, rows)
        ids = [row["conversation_id"] for row in rows]
        return {row[0]: row[1] for row in connection.execute(_LAST_SEQS, {"ids": ids})}

    def insert_messages(self, connection: Connection, rows: Sequence[Row]) -> None:
        """One multi-row insert."""
        connection.execute(_INSERT, rows)

    def advance(self, connection: Connection, moves: Mapping[Key, Cursors]) -> None:
        """As ``members.advance``."""
        rows = [new_row(key, cursors) for key, cursors in sorted(moves.items())]
        connection.execute(self._advance, rows)
