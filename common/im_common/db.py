"""SQL on MySQL (asyncmy) and SQLite (aiosqlite), with one model and the same promises.

Both run READ COMMITTED or stricter and make a commit durable before they confirm it. Times are Unix
milliseconds in BIGINT. What differs between the two is hidden here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    String,
    Table,
    event,
    func,
    make_url,
    text,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.dml import Insert

from im_common.config import DbConf

# An id that counts up; SQLite does that only for INTEGER.
AutoId = BigInteger().with_variant(Integer(), "sqlite")

# Keyword arguments of every Table: text compares by code point, on MySQL as on SQLite.
MYSQL_TABLE: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def ascii_key(length: int) -> String:
    """A key of plain characters, compared byte by byte."""
    return String(length, collation=None).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql"
    )


class Database:
    """A pool of connections to one service's database."""

    def __init__(self, conf: DbConf) -> None:
        url = make_url(conf.data_source)
        if url.password:
            raise ValueError("the password goes into IM_DB__PASSWORD, not into DataSource")
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = _sqlite_engine(conf.data_source)
        else:
            secret = conf.password.get_secret_value()
            self.engine = _mysql_engine(url.set(password=secret) if secret else url, conf)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries; what they see is what was committed at their time."""
        async with self._connection() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back on an exception."""
        async with self._connection() as connection:
            # SQLite takes the write lock at once: a lock taken later, after a read, can only fail.
            options = await connection.execution_options(im_write=True)
            async with options.begin():
                yield options

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Raises ConnectionError, whatever the driver says when it gets none: asyncmy and uvloop
        answer a server that just died with errors of many kinds."""
        connection = self.engine.connect()
        try:
            await connection.start()
        except Exception as error:
            raise ConnectionError(f"no connection to the database: {error!r}") from error
        try:
            yield connection
        finally:
            await connection.close()

    def upsert(
        self,
        table: Table,
        keys: Sequence[str],
        update: Callable[[Table, Any], Mapping[str, ColumnElement[Any]]] | None,
    ) -> Insert:
        """INSERT that on a conflict in ``keys`` sets ``update(old, new)``; with None, changes
        nothing. Use with a list of rows."""
        if self.is_sqlite:
            statement = sqlite.insert(table)
            if update is None:
                return statement.on_conflict_do_nothing(index_elements=keys)
            return statement.on_conflict_do_update(
                index_elements=keys, set_=dict(update(table, statement.excluded))
            )
        mysql_statement = mysql.insert(table)
        # MySQL has no DO NOTHING for one key: an update of a key to itself is that.
        changes = (
            {keys[0]: table.c[keys[0]]}
            if update is None
            else dict(update(table, mysql_statement.inserted))
        )
        return mysql_statement.on_duplicate_key_update(changes)

    def greatest(self, a: ColumnElement[Any], b: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast("ColumnElement[Any]", (func.max if self.is_sqlite else func.greatest)(a, b))

    async def ping(self) -> None:
        async with self._connection() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def _mysql_engine(url: Any, conf: DbConf) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=conf.pool_size,
        max_overflow=0,
        pool_timeout=3,
        pool_recycle=1800,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args={"connect_timeout": 3, "charset": "utf8mb4"},
    )


def _sqlite_engine(url: str) -> AsyncEngine:
    # A thread a connection; writes queue up anyway.
    engine = create_async_engine(url, pool_size=3, max_overflow=0, pool_timeout=10)

    def configure(connection: Any, _record: object) -> None:
        # Without this the driver would begin transactions by itself, and too late.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=8000",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    def begin(connection: Any) -> None:
        write = connection.get_execution_options().get("im_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


def is_duplicate_key(error: Exception) -> bool:
    """Whether an IntegrityError is a unique key's."""
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.IntegrityError):
        return "UNIQUE" in str(original) or "PRIMARY" in str(original)
    arguments: Sequence[Any] = getattr(original, "args", ())
    return len(arguments) > 0 and arguments[0] == 1062
