"""The consumer's way to the database: what it runs for each batch, made to cost little.

Statements are built once. A piece of work is a plain function on a plain connection, so that it needs
one greenlet on MySQL and one visit to the connection's thread on SQLite, whatever it executes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from sqlalchemy import (
    Connection,
    Engine,
    StaticPool,
    bindparam,
    create_engine,
    event,
    insert,
    select,
    tuple_,
)

from chat_service.model.members import Cursors, Key, new_row
from chat_service.model.messages import Place
from chat_service.model.tables import conversation_members, conversations, messages
from im_common.db import Database

T = TypeVar("T")
Work = Callable[[Connection], T]
Row = Mapping[str, Any]

# In the pool's notes on a connection of the driver.
_ENGINE = "im_ledger_engine"

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
        self._db = db
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

    async def read(self, work: Work[T]) -> T:
        """What ``work`` gives for a connection that sees what is committed."""
        if self._db.is_sqlite:
            return await self._visit(work, write=False)
        async with self._db.read() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Work[T]) -> T:
        """One transaction: committed when ``work`` returns, rolled back when it raises."""
        if self._db.is_sqlite:
            return await self._visit(work, write=True)
        async with self._db.write() as connection:
            return await connection.run_sync(work)

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

    # --- SQLite ------------------------------------------------------------------------------

    async def _visit(self, work: Work[T], *, write: bool) -> T:
        """Runs ``work`` in the thread of a connection of the pool.

        Through the asynchronous interface every cursor costs three or four changes of thread.
        """
        async with self._db.engine.connect() as connection:
            pooled = await connection.get_raw_connection()
            driver: Any = pooled.driver_connection
            engine = pooled.info.get(_ENGINE)
            if engine is None:
                engine = pooled.info[_ENGINE] = self._engine_over(driver._conn)
            return cast("T", await driver._execute(_run, engine, work, write))

    def _engine_over(self, raw: sqlite3.Connection) -> Engine:
        """On this one connection; what listens to the pool's engine hears of it too."""
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
        told = self._db.engine.sync_engine.dispatch
        # It is a listener that begins transactions, see im_common.db.
        event.listen(engine, "begin", lambda connection: told.begin(connection))
        event.listen(
            engine, "before_cursor_execute", lambda *call: told.before_cursor_execute(*call)
        )
        return engine


def _run(engine: Engine, work: Work[T], write: bool) -> T:
    with engine.connect() as connection:
        connection = connection.execution_options(im_write=write)
        with connection.begin():
            return work(connection)
