"""SQL on MySQL (asyncmy) and SQLite (aiosqlite), with one model and the same promises.

Both run READ COMMITTED or stricter and make a commit durable before they confirm it. Times are Unix
milliseconds in BIGINT. What differs between the two is hidden here.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    PoolProxiedConnection,
    String,
    Table,
    create_engine,
    event,
    func,
    make_url,
    text,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.dml import Insert
from sqlalchemy.util import greenlet_spawn

from im_common.runtime.config import DbConf
from im_common.sql.direct import PreparedInsert, Script, run_on_mysql, run_on_sqlite

T = TypeVar("T")
Work = Callable[[Connection], T]
"""Queries on a plain connection; whatever they are, they cost one greenlet on MySQL and one visit to
a thread on SQLite."""

# Of SQLite; writes queue up anyway.
_CONNECTIONS = 3
# A connection that was used so lately is not asked whether it lives before it is used again.
_TRUSTED_S = 0.5
_IDLE_SINCE = "im_idle_since"
# A MySQL server that lets a statement wait so long has gone without a word, or the way to it has.
# Longer than a row lock is waited for (50 s).
SILENT_S = 60

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
    """Pools of connections to one service's database."""

    def __init__(self, conf: DbConf) -> None:
        url = make_url(conf.data_source)
        if url.password:
            raise ValueError("the password goes into IM_DB__PASSWORD, not into DataSource")
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._threads: ThreadPoolExecutor | None = None
        self._writers = asyncio.Lock()
        if self.is_sqlite:
            self.engine = self._reading = _sqlite_engine(url)
            self._working = self._looking = _plain_sqlite_engine(url)
            self._threads = ThreadPoolExecutor(_CONNECTIONS, "im-sqlite")
        else:
            secret = conf.password.get_secret_value()
            url = url.set(password=secret) if secret else url
            self.engine = _mysql_engine(url, conf)
            self._reading = _mysql_engine(url, conf, autocommit=True)
            self._working, self._looking = self.engine.sync_engine, self._reading.sync_engine

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries; what they see is what was committed at their time."""
        async with _connection(self._reading) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back on an exception."""
        async with self._turn(), _connection(self.engine) as connection:
            # SQLite takes the write lock at once: a lock taken later, after a read, can only fail.
            options = await connection.execution_options(im_write=True)
            async with options.begin():
                yield options

    async def run_read(self, work: Work[T]) -> T:
        """``read`` for a hot path: what ``work`` gives for a connection."""
        if self._threads is None:
            return await greenlet_spawn(_run, self._looking, work)
        return await self._in_thread(_run, self._looking, work)

    async def run_write(self, script: Script[T]) -> T:
        """``write`` for a hot path: committed when ``script`` returns, rolled back when it raises.
        Who cancels it cannot know which of the two it is, but it is never committed by halves."""
        engine = self._working
        if self._threads is None:
            return await run_on_mysql(engine, partial(_checkout, engine), script)
        async with self._turn():
            return await self._in_thread(run_on_sqlite, partial(_checkout, engine), script, engine)

    def prepare(self, statement: Insert, columns: Sequence[str]) -> PreparedInsert:
        """For ``run_write``."""
        return PreparedInsert(statement, columns, self._working.dialect)

    @property
    def has_returning(self) -> bool:
        """Whether an INSERT can give rows back; known from the first transaction on."""
        return self.is_sqlite or bool(getattr(self._working.dialect, "is_mariadb", False))

    def placeholders(self, count: int) -> str:
        """For parameters of the statements of ``run_write``."""
        return ", ".join(["?" if self.is_sqlite else "%s"] * count)

    def _turn(self) -> AbstractAsyncContextManager[None]:
        """SQLite's own way to wait for its write lock is to try again and again, so that some wait
        for seconds: the writers of this process take turns."""
        return self._writers if self.is_sqlite else nullcontext()

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

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
        async with _connection(self._reading) as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        for engine in (self.engine, self._reading):
            await engine.dispose()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._working.dispose()


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Raises ConnectionError, whatever the driver says when it gets none: asyncmy and uvloop answer
    a server that just died with errors of many kinds."""
    connection = engine.connect()
    try:
        await connection.start()
    except Exception as error:
        raise _no_connection(error) from error
    try:
        yield connection
    finally:
        await connection.close()


def _run(engine: Engine, work: Work[T]) -> T:
    try:
        connection = engine.connect()
    except Exception as error:
        raise _no_connection(error) from error
    with connection:
        return work(connection)


def _checkout(engine: Engine) -> PoolProxiedConnection:
    try:
        return engine.raw_connection()
    except Exception as error:
        raise _no_connection(error) from error


def _no_connection(error: Exception) -> ConnectionError:
    return ConnectionError(f"no connection to the database: {error!r}")


def _mysql_engine(url: URL, conf: DbConf, *, autocommit: bool = False) -> AsyncEngine:
    """With ``autocommit`` for queries only: there is nothing to roll back after them."""
    engine = create_async_engine(
        url,
        pool_size=conf.pool_size,
        max_overflow=0,
        pool_timeout=3,
        pool_recycle=1800,
        # Whoever writes ends the transaction himself.
        pool_reset_on_return=None,
        isolation_level="READ COMMITTED",
        skip_autocommit_rollback=True,
        connect_args={
            "connect_timeout": 3,
            "read_timeout": SILENT_S,
            "charset": "utf8mb4",
            "autocommit": autocommit,
        },
    )
    _ping_the_idle(engine.sync_engine)
    return engine


def _ping_the_idle(engine: Engine) -> None:
    """As ``pool_pre_ping``, but without the round trip for a connection that was just in use."""

    def note(_connection: Any, entry: Any) -> None:
        entry.info[_IDLE_SINCE] = time.monotonic()

    def ping(connection: Any, entry: Any, _proxy: object) -> None:
        idle_since = entry.info.get(_IDLE_SINCE)
        if idle_since is None or time.monotonic() - idle_since < _TRUSTED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", note)
    event.listen(engine, "checkout", ping)


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=10)
    _configure_sqlite(engine.sync_engine)
    return engine


def _plain_sqlite_engine(url: URL) -> Engine:
    """To be used in threads of our own: through the asynchronous one every cursor costs three or
    four changes of thread."""
    engine = create_engine(
        url.set(drivername="sqlite"), pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=10
    )
    _configure_sqlite(engine)
    return engine


def _configure_sqlite(engine: Engine) -> None:
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

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)


def is_duplicate_key(error: Exception) -> bool:
    """Whether an IntegrityError is a unique key's."""
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.IntegrityError):
        return "UNIQUE" in str(original) or "PRIMARY" in str(original)
    arguments: Sequence[Any] = getattr(original, "args", ())
    return len(arguments) > 0 and arguments[0] == 1062
