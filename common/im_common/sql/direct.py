"""Transactions on the driver itself, for what every message passes.

SQLAlchemy gives the connections and writes the SQL, once; executing a small statement through it
costs several times what the driver takes. A transaction is a generator, so that the same one runs on
asyncmy, which is awaited, and on sqlite3, in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert
from sqlalchemy.util import greenlet_spawn

T = TypeVar("T")
Rows = Sequence[tuple[Any, ...]]


class Statement(NamedTuple):
    """SQL with the driver's placeholders, and its parameters: one row, or with ``many`` a list of
    rows to insert at once."""

    sql: str
    parameters: Sequence[Any]
    many: bool = False


Script = Generator[Statement, Rows, T]
"""Yields statements and is sent the rows of each; what it returns is committed.

Those with ``many`` have no rows to wait for: on MySQL they go to the server together with what comes
next, be it the COMMIT.
"""

# Told of each statement.
listeners: list[Callable[[str], None]] = []


# What comes before the row of placeholders, the row, and what comes after it.
_VALUES = re.compile(r"(INSERT INTO .*? VALUES )(\([^()]*\))(.*)", re.DOTALL)
# Statements with more text than this go one by one: MySQL takes so much in a packet by default.
_MOST_TOGETHER = 1024 * 1024
_COMMIT = Statement("COMMIT", ())


class PreparedInsert:
    """An INSERT whose text is made once."""

    def __init__(self, statement: Insert, columns: Sequence[str], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=list(columns))
        self._sql = str(compiled)
        self._values = itemgetter(*compiled.positiontup)

    def many(self, rows: Sequence[Mapping[str, Any]]) -> Statement:
        """Inserts all rows at once; each has all the columns."""
        return Statement(self._sql, [self._values(row) for row in rows], many=True)

    def returning(self, rows: Sequence[Mapping[str, Any]], columns: str) -> Statement:
        """The same, and gives ``columns`` of what is there then. Not on MySQL."""
        statement = _in_one(self.many(rows))
        return statement._replace(sql=f"{statement.sql} RETURNING {columns}")


def _in_one(statement: Statement) -> Statement:
    """With a row of placeholders for each row."""
    if not statement.many:
        return statement
    head, row, tail = _parts(statement.sql)
    values = ", ".join([row] * len(statement.parameters))
    parameters = [value for row in statement.parameters for value in row]
    return Statement(f"{head}{values}{tail}", parameters)


@lru_cache(maxsize=64)
def _parts(sql: str) -> tuple[str | Any, ...]:
    found = _VALUES.fullmatch(sql)
    assert found is not None
    return found.groups()


async def run_on_mysql(engine: Engine, connect: Callable[[], Any], script: Script[T]) -> T:
    """Runs it on a connection that ``connect`` gives, in a greenlet. Raises what SQLAlchemy would."""
    pooled: Any = await greenlet_spawn(connect)
    sound = False
    try:
        driver = pooled.driver_connection
        result = await _drive(driver.cursor(), script, engine)
        sound = True
        return result
    except DBAPIError as error:
        if not error.connection_invalidated:
            await _told(driver.rollback(), "ROLLBACK", engine)
            sound = True
        raise
    finally:
        script.close()
        # Also when it was cancelled: who knows what the connection would answer next.
        await greenlet_spawn(pooled.close if sound else pooled.invalidate)


async def _drive(cursor: Any, script: Script[T], engine: Engine) -> T:
    rows: Rows | None = None
    waiting: list[Statement] = []
    while True:
        try:
            statement = next(script) if rows is None else script.send(rows)
        except StopIteration as end:
            await _send(cursor, [*waiting, _COMMIT], engine)
            result: T = end.value
            return result
        _tell(statement.sql)
        rows = ()
        waiting.append(statement)
        if not statement.many:
            await _send(cursor, waiting, engine)
            rows = await cursor.fetchall() if cursor.description else ()
            waiting = []


async def _send(cursor: Any, statements: Sequence[Statement], engine: Engine) -> None:
    """All in one go; the server stops at the first that fails. Leaves the last one's rows in the
    cursor."""
    texts = [cursor.mogrify(s.sql, s.parameters or None) for s in map(_in_one, statements)]
    sql = "; ".join(statement.sql for statement in statements)
    if sum(map(len, texts)) > _MOST_TOGETHER:
        for statement in statements:
            execute = cursor.executemany if statement.many else cursor.execute
            await _told(execute(statement.sql, statement.parameters), statement.sql, engine)
        return
    await _told(cursor.execute("; ".join(texts)), sql, engine)
    while await _told(cursor.nextset(), sql, engine):
        pass


async def _told(call: Awaitable[T], sql: str, engine: Engine) -> T:
    """Any other error than the driver's own means that the connection broke: asyncmy and uvloop have
    many words for it."""
    dialect: Any = engine.dialect
    try:
        return await call
    except dialect.loaded_dbapi.Error as error:
        broken = dialect.is_disconnect(error, None, None)
        raise _wrapped(error, sql, engine, broken=broken) from error
    except Exception as error:
        raise ConnectionError(f"the database broke off: {error!r}") from error


def run_on_sqlite(connect: Callable[[], Any], script: Script[T], engine: Engine) -> T:
    """Runs it in the thread of the caller. Raises what SQLAlchemy would."""
    pooled: Any = connect()
    cursor = pooled.driver_connection.cursor()
    dialect: Any = engine.dialect
    statement = Statement("BEGIN IMMEDIATE", ())
    try:
        cursor.execute(statement.sql)
        rows: Rows | None = None
        while True:
            try:
                statement = next(script) if rows is None else script.send(rows)
            except StopIteration as end:
                cursor.execute("COMMIT")
                result: T = end.value
                return result
            _tell(statement.sql)
            execute = cursor.executemany if statement.many else cursor.execute
            execute(statement.sql, statement.parameters)
            rows = cursor.fetchall() if cursor.description else ()
    except dialect.loaded_dbapi.Error as error:
        raise _wrapped(error, statement.sql, engine, broken=False) from error
    finally:
        script.close()
        cursor.close()
        # Rolls back what was not committed.
        pooled.close()


def _wrapped(error: Exception, sql: str, engine: Engine, *, broken: bool) -> BaseException:
    dialect: Any = engine.dialect
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, connection_invalidated=broken, dialect=dialect
    )


def _tell(sql: str) -> None:
    for listener in listeners:
        listener(sql)
