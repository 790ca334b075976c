"""Statements on the driver itself, within ``Database.write``, for what every message passes.

SQLAlchemy gives the connection and writes the SQL, once; executing a small statement through it costs
several times what the driver takes. And what a transaction need not wait for goes to MySQL together
with what comes next, be it the COMMIT.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert
from sqlalchemy.util import await_only

T = TypeVar("T")
Rows = Sequence[tuple[Any, ...]]
Values = Sequence[Any]

# The execution option of a connection that has its way to the driver; only one that writes has it.
OPTION = "im_direct"
_VALUES = re.compile(r"(INSERT INTO .*? VALUES )(\([^()]*\))(.*)", re.DOTALL)
# Statements with more text than this go one by one: MySQL takes so much in a packet by default.
_MOST_TOGETHER = 1024 * 1024


class Statement(NamedTuple):
    """SQL with the driver's placeholders, and its parameters: one row, or with ``many`` a list of
    rows to insert at once."""

    sql: str
    parameters: Sequence[Any] = ()
    many: bool = False


_COMMIT = Statement("COMMIT")
BEGIN_IMMEDIATE = Statement("BEGIN IMMEDIATE")


class _ForDialect(Protocol):
    def on(self, dialect: Dialect) -> Insert: ...


class PreparedInsert:
    """An INSERT or Upsert of rows that have values for ``columns``, in that order; its text is made
    once for each kind of server."""

    def __init__(self, statement: Insert | _ForDialect, columns: Sequence[str]) -> None:
        self._statement = statement
        self.columns = list(columns)
        self._texts: dict[Any, _Text] = {}

    def put_off(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Inserts all rows at once: at the latest before the next statement, or with the COMMIT."""
        text = self._text(connection.dialect)
        put_off(connection, Statement(text.sql, text.values(rows), many=True))

    def returning(self, connection: Connection, rows: Sequence[Values], columns: str) -> Rows:
        """The same now, and gives ``columns`` of what is there then. Only where an INSERT can."""
        text = self._text(connection.dialect)
        statement = text.in_one(text.values(rows))
        return send(connection, statement._replace(sql=f"{statement.sql} RETURNING {columns}"))

    def _text(self, dialect: Any) -> _Text:
        # What a server is and can do is known from the first connection on.
        kind = (dialect.name, getattr(dialect, "is_mariadb", False), dialect.server_version_info)
        text = self._texts.get(kind)
        if text is None:
            statement = self._statement
            insert = statement if isinstance(statement, Insert) else statement.on(dialect)
            text = self._texts[kind] = _Text(insert, self.columns, dialect)
        return text


class _Text:
    def __init__(self, statement: Insert, columns: Sequence[str], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=list(columns))
        self.sql = str(compiled)
        # As the statement wants them; None when that is the order in which they come.
        wanted = [columns.index(name) for name in compiled.positiontup]
        self._in_order = None if wanted == [*range(len(columns))] else itemgetter(*wanted)

    def values(self, rows: Sequence[Values]) -> Sequence[Values]:
        return rows if self._in_order is None else [self._in_order(row) for row in rows]

    def in_one(self, values: Sequence[Any]) -> Statement:
        return _in_one(Statement(self.sql, values, many=True))


def select_in(connection: Connection, sql: str, values: Sequence[Any]) -> Rows:
    """The rows of ``sql``, in which {} stands for the list of values."""
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    return send(connection, Statement(sql.format(", ".join([mark] * len(values))), values))


def send(connection: Connection, statement: Statement) -> Rows:
    """Executes it, after all that was put off; its rows."""
    return _direct(connection).send(statement)


def put_off(connection: Connection, statement: Statement) -> None:
    """Has it executed before the next statement, or with the COMMIT. What it raises, that raises."""
    _direct(connection).put_off(statement)


def send_first(connection: Connection, *_rest: object) -> None:
    """Before SQLAlchemy executes something."""
    direct: _Direct | None = connection.get_execution_options().get(OPTION)
    if direct is not None:
        direct.send_waiting()


def _direct(connection: Connection) -> _Direct:
    direct: _Direct = connection.get_execution_options()[OPTION]
    return direct


class _Direct(Protocol):
    def send(self, statement: Statement) -> Rows: ...

    def put_off(self, statement: Statement) -> None: ...

    def send_waiting(self) -> None: ...


class SqliteDirect:
    """In the thread of the caller. Raises what SQLAlchemy would."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, statement: Statement) -> Rows:
        driver: Any = self._connection.connection.driver_connection
        cursor = driver.cursor()
        if statement is not _COMMIT:
            _tell(self._connection, statement)
        try:
            execute = cursor.executemany if statement.many else cursor.execute
            execute(statement.sql, statement.parameters)
            return cursor.fetchall() if cursor.description else ()
        except driver.Error as error:
            raise _wrapped(error, statement.sql, self._connection.dialect, broken=False) from error
        finally:
            cursor.close()

    def put_off(self, statement: Statement) -> None:
        self.send(statement)

    def send_waiting(self) -> None:
        """Nothing ever waits."""

    def commit(self) -> None:
        if self._connection.in_transaction():
            self._connection.commit()
        else:
            self.send(_COMMIT)

    def roll_back(self) -> None:
        """Leaves the connection sound, or gives it up."""
        connection = self._connection
        try:
            if connection.in_transaction():
                connection.rollback()
            elif not connection.invalidated:
                connection.connection.rollback()
        except Exception:
            connection.invalidate()


class MysqlDirect:
    """In the greenlet of the caller. Raises what SQLAlchemy would."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect: Any = connection.dialect
        self._waiting: list[Statement] = []
        self._is_used = False

    def send(self, statement: Statement) -> Rows:
        self.put_off(statement)
        return self._send()

    def put_off(self, statement: Statement) -> None:
        self._waiting.append(statement)

    def send_waiting(self) -> None:
        if self._waiting:
            self._send()

    def commit(self) -> None:
        if self._connection.in_transaction():
            self.send_waiting()
            self._connection.commit()
        elif self._waiting or self._is_used:
            self.send(_COMMIT)
        self._is_used = False

    def roll_back(self) -> None:
        """Leaves the connection sound, or gives it up."""
        connection = self._connection
        if connection.invalidated:
            return
        try:
            if connection.in_transaction():
                connection.rollback()
            elif self._is_used:
                connection.connection.rollback()
        except BaseException as error:
            connection.invalidate()
            if not isinstance(error, Exception):
                raise

    def _send(self) -> Rows:
        """All in one go; the server stops at the first that fails. Gives the last one's rows."""
        statements, self._waiting = self._waiting, []
        self._is_used = True
        for statement in statements:
            if statement is not _COMMIT:
                _tell(self._connection, statement)
        driver: Any = self._connection.connection.driver_connection
        try:
            return await_only(self._execute(driver.cursor(), statements))
        except BaseException as error:
            # Also when it was cancelled: who knows what the connection would answer next.
            if not isinstance(error, DBAPIError) or error.connection_invalidated:
                self._connection.invalidate()
            raise

    async def _execute(self, cursor: Any, statements: Sequence[Statement]) -> Rows:
        literal = cursor.connection.literal
        texts = [_filled(s, literal) for s in map(_in_one, statements)]
        if sum(map(len, texts)) > _MOST_TOGETHER:
            for statement in statements:
                execute = cursor.executemany if statement.many else cursor.execute
                await self._told(execute(statement.sql, statement.parameters), statement.sql)
        else:
            sql = "; ".join(statement.sql for statement in statements)
            await self._told(cursor.execute("; ".join(texts)), sql)
            while await self._told(cursor.nextset(), sql):
                pass
        return await cursor.fetchall() if cursor.description else ()

    async def _told(self, call: Awaitable[T], sql: str) -> T:
        """Any other error than the driver's own means that the connection broke: asyncmy and uvloop
        have many words for it."""
        try:
            return await call
        except self._dialect.loaded_dbapi.Error as error:
            broken = self._dialect.is_disconnect(error, None, None)
            raise _wrapped(error, sql, self._dialect, broken=broken) from error
        except Exception as error:
            raise ConnectionError(f"the database broke off: {error!r}") from error


def _filled(statement: Statement, literal: Callable[[Any], str]) -> str:
    """With its parameters, as the driver's ``mogrify`` makes it: of what most are, in two thirds of the
    time."""
    if not statement.parameters:
        return statement.sql
    return statement.sql % tuple(
        [
            str(value) if type(value) is int else "NULL" if value is None else literal(value)
            for value in statement.parameters
        ]
    )


def _in_one(statement: Statement) -> Statement:
    """With a row of placeholders for each row."""
    if not statement.many:
        return statement
    head, row, tail = _parts(statement.sql)
    values = ", ".join([row] * len(statement.parameters))
    parameters = [value for row in statement.parameters for value in row]
    return Statement(f"{head}{values}{tail}", parameters)


@lru_cache(maxsize=64)
def _parts(sql: str) -> tuple[str, str, str]:
    """Of an INSERT: what comes before its row of placeholders, the row, and what comes after it."""
    found = _VALUES.fullmatch(sql)
    assert found is not None
    head, row, tail = found.groups()
    return head, row, tail


def _wrapped(error: Exception, sql: str, dialect: Any, *, broken: bool) -> BaseException:
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, connection_invalidated=broken, dialect=dialect
    )


def _tell(connection: Connection, statement: Statement) -> None:
    """Who listens to SQLAlchemy's statements hears of this one, too."""
    connection.dispatch.before_cursor_execute(
        connection, None, statement.sql, statement.parameters, None, statement.many
    )
