"""A database of a benchmark's own, by its driver: one table, where each statement commits."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncmy

from im_local.infra_file import Infra


@contextmanager
def sqlite_table(file: Path, table: str) -> Iterator[sqlite3.Connection]:
    """As durable as the system's own. It runs in this thread."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(table)
        yield connection
    finally:
        connection.close()


@asynccontextmanager
async def mysql_table(infra: Infra, schema: str, table: str) -> AsyncIterator[Any]:
    """A cursor; the schema is there during the block."""
    host, _, port = infra.mysql.rpartition(":")
    connection = await asyncmy.connect(
        host=host,
        port=int(port),
        user=infra.mysql_user,
        password=infra.mysql_password,
        autocommit=True,
    )
    async with connection.cursor() as cursor:
        await cursor.execute(f"CREATE DATABASE {schema}")
        try:
            await cursor.execute(f"USE {schema}")
            await cursor.execute(table)
            yield cursor
        finally:
            await cursor.execute(f"DROP DATABASE {schema}")
            await connection.ensure_closed()
