"""How work on a plain connection is run: on MySQL in a greenlet, on SQLite in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from im_common.errors import AppError
from im_common.runtime.sections import DbConf
from im_common.sql.direct import (
    BEGIN_IMMEDIATE,
    OPTION,
    MysqlDirect,
    SqliteDirect,
    send_first,
)
from im_common.sql.mysql_login import login_arguments
from im_common.sql.read_only import LeavesReadOnly

T = TypeVar("T")
Work = Callable[[Connection], T]

# Of SQLite.
_READERS = 3
# Pages (of 4 KiB) that its log grows to before they go into the database. SQLite's own 1,000 are full
# after a few batches: a page of an index that all of them change is written with each.
_PAGES_IN_LOG = 4_000
# A connection that was used so lately is not asked whether it lives before it is used again.
_TRUSTED_S = 0.5
# After so long the pool looks at one in any case: how old it is, and to which server it leads.
_KEPT_S = 30.0
_IDLE_SINCE = "im_idle_since"
# A MySQL server that lets a statement wait so long has gone without a word, or the way to it has.
# Longer than a row lock is waited for (50 s).
SILENT_S = 60


class Backend(Protocol):
    """What `Database` stands on; see there."""

    async def read(self, work: Work[T]) -> T: ...

    async def write(self, work: Work[T]) -> T: ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


class MysqlBackend:
    """Whatever its queries are, a piece of work costs one greenlet. Cancelled, it ends where it waits,
    and its connection is given up: who knows what that would answer next."""

    def __init__(self, url: URL, conf: DbConf, *, is_patient: bool) -> None:
        silent_s = None if is_patient else SILENT_S
        self._writing = _mysql_engine(url, conf, silent_s, autocommit=False)
        # For queries only: there is nothing to roll back after them.
        self._reading = _mysql_engine(url, conf, silent_s, autocommit=True)
        self._primary = LeavesReadOnly(self._writing, self._reading)
        self._writers = _Writers(self._writing)
        event.listen(self._writing, "before_cursor_execute", send_first)

    async def read(self, work: Work[T]) -> T:
        return await greenlet_spawn(_read, self._reading, work)

    async def write(self, work: Work[T]) -> T:
        return await greenlet_spawn(self._write, work)

    def _write(self, work: Work[T]) -> T:
        writer = self._writers.take()
        try:
            result = work(writer.connection)
            writer.direct.commit()
        except BaseException as error:
            # The others may be no better.
            self._writers.let_go()
            with writer.connection:
                if isinstance(error, Exception):
                    writer.direct.roll_back()
            raise
        self._writers.keep(writer)
        return result

    async def ping(self) -> None:
        await self.read(self._primary.check)

    async def close(self) -> None:
        await greenlet_spawn(self._writers.let_go)
        for engine in (self._writing, self._reading):
            await greenlet_spawn(engine.dispose)


class _Writer:
    """A connection out of the pool, with its way to the driver."""

    def __init__(self, engine: Engine) -> None:
        self.connection = _connect(engine)
        self.direct = MysqlDirect(self.connection)
        self.connection.execution_options(**{OPTION: self.direct})
        # time.monotonic()
        self.taken_at = self.used_at = time.monotonic()

    def is_trusted(self, now: float) -> bool:
        """Whether the pool need not look at it before it is used again."""
        return min(self.used_at + _TRUSTED_S, self.taken_at + _KEPT_S) > now

    def give_back(self) -> None:
        info = self.connection.info
        self.connection.close()
        info[_IDLE_SINCE] = self.used_at


class _Writers:
    """Those that were just in use, for who writes next: to take a connection out of the pool and to
    give it back costs nearly what a small transaction does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: list[_Writer] = []
        # Who asks the pool, and may wait there.
        self._asking = 0

    def take(self) -> _Writer:
        """Raises ConnectionError when there is none."""
        if self._kept:
            writer = self._kept.pop()
            if writer.is_trusted(time.monotonic()):
                return writer
            writer.give_back()
        self._asking += 1
        try:
            return _Writer(self._engine)
        finally:
            self._asking -= 1

    def keep(self, writer: _Writer) -> None:
        writer.used_at = time.monotonic()
        if self._asking:
            writer.give_back()
        else:
            self._kept.append(writer)

    def let_go(self) -> None:
        """The pool looks at each of them again."""
        while self._kept:
            self._kept.pop().give_back()


class SqliteBackend:
    """A piece of work costs one visit to a thread, and goes on to its end there when it is cancelled.

    Through aiosqlite every cursor costs three or four visits, and a transaction that is cancelled in
    a statement keeps the write lock until the garbage collector comes by.
    """

    def __init__(self, url: URL) -> None:
        # SQLite's own way to wait for its write lock is to try again and again, so that some wait for
        # seconds: the writers of this process have one thread, and so take turns.
        self._writer = ThreadPoolExecutor(1, "im-sqlite-write")
        self._readers = ThreadPoolExecutor(_READERS, "im-sqlite-read")
        self._writing = _sqlite_engine(url, 1)
        # The writers' one, open from the first of them on: to take it out of the pool and to begin by
        # SQLAlchemy costs twice what a small transaction does.
        self._kept: Connection | None = None
        # For queries only: there is nothing to begin before them, nor to roll back after them.
        self._reading = _sqlite_engine(
            url,
            _READERS,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
        )

    async def read(self, work: Work[T]) -> T:
        return await _in_thread(self._readers, _read, self._reading, work)

    async def write(self, work: Work[T]) -> T:
        return await _in_thread(self._writer, self._write, work)

    def _write(self, work: Work[T]) -> T:
        connection = self._kept
        if connection is None:
            connection = self._kept = _connect(self._writing)
            connection.execution_options(**{OPTION: SqliteDirect(connection)})
        direct: SqliteDirect = connection.get_execution_options()[OPTION]
        try:
            # Who writes takes the write lock at once: a lock taken later, after a read, can only fail.
            direct.send(BEGIN_IMMEDIATE)
            result = work(connection)
            direct.commit()
            return result
        except BaseException:
            direct.roll_back()
            if connection.invalidated:
                self._give_up()
            raise

    def _give_up(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    async def ping(self) -> None:
        await self.read(lambda connection: connection.execute(text("SELECT 1")).all())

    async def close(self) -> None:
        # Behind what is being written.
        await _in_thread(self._writer, self._give_up)
        for threads in (self._writer, self._readers):
            threads.shutdown(wait=False)
        for engine in (self._writing, self._reading):
            engine.dispose()


async def _in_thread(threads: ThreadPoolExecutor, call: Callable[..., T], *arguments: Any) -> T:
    run = contextvars.copy_context().run
    return await asyncio.get_running_loop().run_in_executor(threads, run, call, *arguments)


def _read(engine: Engine, work: Work[T]) -> T:
    with _connected(engine) as connection:
        try:
            return work(connection)
        except (SQLAlchemyError, AppError):
            raise
        except Exception:
            # A driver whose connection is cut may raise anything.
            connection.invalidate()
            raise


def _connect(engine: Engine) -> Connection:
    """Raises ConnectionError, whatever the driver says when it gets none: asyncmy and uvloop answer
    a server that just died with errors of many kinds."""
    try:
        return engine.connect()
    except Exception as error:
        raise ConnectionError(f"no connection to the database: {error!r}") from error


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    with _connect(engine) as connection:
        yield connection


def _mysql_engine(url: URL, conf: DbConf, silent_s: float | None, *, autocommit: bool) -> Engine:
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
            **login_arguments(conf),
            "connect_timeout": 3,
            "read_timeout": silent_s,
            "charset": "utf8mb4",
            "autocommit": autocommit,
        },
    ).sync_engine
    _ping_the_idle(engine)
    if silent_s is not None:
        _bound_sending(engine, silent_s)
    return engine


def _bound_sending(engine: Engine, silent_s: float) -> None:
    """What a server leaves unread for so long ends the connection. ``read_timeout`` alone would wait
    until a big statement is sent."""

    def bound(connection: Any, _entry: object) -> None:
        sock = connection.driver_connection._transport.get_extra_info("socket")
        # A server that is reached by a file is on this machine.
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silent_s * 1000))

    event.listen(engine, "connect", bound)


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


def _sqlite_engine(url: URL, connections: int, **options: Any) -> Engine:
    engine = create_engine(
        url.set(drivername="sqlite"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=10,
        **options,
    )
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # Without this the driver would begin transactions by itself, and too late.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=8000",
        f"wal_autocheckpoint={_PAGES_IN_LOG}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()
