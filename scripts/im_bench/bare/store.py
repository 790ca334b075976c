"""The database: one table with the keys of `messages`, and one statement for a batch."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from im_bench.bare.parts import Servers
from im_bench.databases import mysql_table, sqlite_table

_COLUMNS = 7
_TABLE = """
CREATE TABLE messages (
  conversation_id VARCHAR(64) NOT NULL, seq BIGINT NOT NULL, message_id CHAR(36) NOT NULL,
  sender_id BIGINT NOT NULL, client_msg_id VARCHAR(64) NOT NULL, content TEXT NOT NULL,
  created_at BIGINT NOT NULL, PRIMARY KEY (conversation_id, seq), UNIQUE (message_id),
  UNIQUE (sender_id, client_msg_id))
"""


class Store(Protocol):
    async def put(self, rows: Sequence[Sequence[Any]]) -> None:
        """Returns when all are committed."""


def store(servers: Servers) -> AbstractAsyncContextManager[Store]:
    """A new one, which is removed after the block."""
    return _sqlite(servers) if servers.infra is None else _mysql(servers)


@asynccontextmanager
async def _sqlite(servers: Servers) -> AsyncIterator[Store]:
    with sqlite_table(Path(servers.data) / f"{servers.name}.db", _TABLE) as connection:
        yield _Sqlite(connection)


class _Sqlite:
    """In the thread of the event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def put(self, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        marks = ", ".join("?" * _COLUMNS)
        self._connection.executemany(f"INSERT INTO messages VALUES ({marks})", rows)  # noqa: S608
        self._connection.execute("COMMIT")


@asynccontextmanager
async def _mysql(servers: Servers) -> AsyncIterator[Store]:
    assert servers.infra is not None
    async with mysql_table(servers.infra, servers.name, _TABLE) as cursor:
        yield _Mysql(cursor)


class _Mysql:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def put(self, rows: Sequence[Sequence[Any]]) -> None:
        row = f"({', '.join(['%s'] * _COLUMNS)})"
        marks = ", ".join([row] * len(rows))
        values = [value for row in rows for value in row]
        await self._cursor.execute(f"INSERT INTO messages VALUES {marks}", values)  # noqa: S608
