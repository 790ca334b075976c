"""SQL on MySQL (asyncmy) and SQLite, with one model and the same promises.

A query is a plain function of a plain connection; :class:`Database` runs it. Both databases run READ
COMMITTED or stricter and make a commit durable before they confirm it. Times are Unix milliseconds in
BIGINT. What differs between the two is hidden here, in `backends` and in `direct`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    TypeDecorator,
    make_url,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeEngine

from im_common.runtime import metrics, tracing
from im_common.runtime.sections import DbConf
from im_common.sql.backends import Backend, MysqlBackend, SqliteBackend

P = ParamSpec("P")
T = TypeVar("T")
Row = Mapping[str, Any]

_READ, _WRITE = (metrics.DATABASE.labels(work) for work in ("read", "write"))

# An id that counts up; SQLite does that only for INTEGER.
AutoId = BigInteger().with_variant(Integer(), "sqlite")

# Keyword arguments of every Table: text compares by code point, on MySQL as on SQLite.
MYSQL_TABLE: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def ascii_key(length: int) -> String:
    """A key of plain characters, compared byte by byte."""
    return String(length, collation=None).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql"
    )


class ExactText(TypeDecorator[str]):
    """A text of at most ``length`` characters that is a key: two texts are one only when they are the
    same. On MySQL text columns take spaces at the end for nothing (the collations that do not are other
    ones on MariaDB), so the column holds the UTF-8."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        length: int = self.impl_instance.length  # type: ignore[attr-defined]
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(length))
        return dialect.type_descriptor(mysql.VARBINARY(4 * length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "sqlite" else value.encode()

    def process_result_value(self, value: Any, _dialect: Dialect) -> str | None:
        return value.decode() if isinstance(value, bytes) else value


class Database:
    """One service's database."""

    def __init__(self, conf: DbConf, *, is_patient: bool = False) -> None:
        """``is_patient``: waits for a statement however long it takes."""
        url = make_url(conf.data_source)
        if url.password:
            raise ValueError("the password goes into IM_DB__PASSWORD, not into DataSource")
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._backend: Backend = (
            SqliteBackend(url) if self.is_sqlite else MysqlBackend(url, conf, is_patient=is_patient)
        )

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What ``work`` gives for a connection; its queries see what was committed at their time.
        Raises ConnectionError when there is none, whatever the driver says to that."""
        with _READ.time(), tracing.inside("database read"):
            return await self._backend.read(lambda connection: work(connection, *args, **kwargs))

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same as one transaction: committed when ``work`` returns, rolled back when it raises.
        Who cancels it cannot know which of the two it is, but it is never committed by halves, and
        holds nothing up."""
        with _WRITE.time(), tracing.inside("database write"):
            return await self._backend.write(lambda connection: work(connection, *args, **kwargs))

    async def ping(self) -> None:
        """Raises when the database is away, or takes no writes."""
        await self._backend.ping()

    async def close(self) -> None:
        await self._backend.close()


class greatest(GenericFunction[Any]):
    """The greatest of its arguments."""

    inherit_cache = True


@compiles(greatest, "sqlite")
def _greatest_of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


class Upsert:
    """INSERT that on a conflict in ``keys`` sets ``update(old, new)``; with None, changes nothing."""

    def __init__(
        self,
        table: Table,
        keys: Sequence[str],
        update: Callable[[Any, Any], Mapping[str, ColumnElement[Any]]] | None = None,
    ) -> None:
        on_mysql, on_sqlite = mysql.insert(table), sqlite.insert(table)
        # MySQL has no DO NOTHING for one key: an update of a key to itself is that.
        changes = update(table.c, on_mysql.inserted) if update else {keys[0]: table.c[keys[0]]}
        self._mysql = on_mysql.on_duplicate_key_update(dict(changes))
        self._sqlite = (
            on_sqlite.on_conflict_do_update(
                index_elements=keys, set_=dict(update(table.c, on_sqlite.excluded))
            )
            if update
            else on_sqlite.on_conflict_do_nothing(index_elements=keys)
        )

    def on(self, dialect: Dialect) -> Insert:
        return self._sqlite if dialect.name == "sqlite" else self._mysql

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        connection.execute(self.on(connection.dialect), rows)


def is_duplicate_key(error: Exception) -> bool:
    """Whether an IntegrityError is a unique key's."""
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.IntegrityError):
        return "UNIQUE" in str(original) or "PRIMARY" in str(original)
    arguments: Sequence[Any] = getattr(original, "args", ())
    return len(arguments) > 0 and arguments[0] == 1062
