"""How a database goes about queries: what it looks up by an index, and what it reads from end to end.

A query that is quick on a table of a test may cost a second on one that is full. The plan tells, and on
MySQL the number of rows that were read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, Table, inspect, text

from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.queries import Executed, executed_queries

Work = Callable[[Connection], Any]

PRIMARY = "PRIMARY"
# What SQLite says of a table, or of what it makes for itself.
_SQLITE = re.compile(
    r"(?P<how>SCAN|SEARCH) (?P<table>[a-z_][a-z_0-9]*)"
    r"(?: USING (?:AUTOMATIC )?(?:PARTIAL )?(?:COVERING )?"
    r"(?:INDEX (?P<index>\w+)|(?:INTEGER )?PRIMARY KEY))?.*"
)


class Step(NamedTuple):
    """What a plan says of one table."""

    table: str
    # By which it is read: PRIMARY, a name, or empty for none.
    key: str
    # From end to end.
    is_scan: bool
    # As the database expects them; None where it does not say.
    rows: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one statement."""

    statement: str
    steps: tuple[Step, ...]
    # Whether rows are sorted, instead of coming in the order of an index.
    is_sorted: bool

    @property
    def scans(self) -> list[str]:
        """The tables that are read from end to end."""
        return [step.table for step in self.steps if step.is_scan]

    def of(self, table: Table) -> Step:
        (step,) = (step for step in self.steps if step.table == table.name)
        return step


class _Enough(Exception):
    pass


@contextmanager
def filled_database(
    kind: str, folder: Path, migrations: Path, fill: Callable[[Connection], None]
) -> Iterator[DbConf]:
    """A database of its own with what ``fill`` puts there, counted as MySQL does by itself in a while;
    SQLite plans without. Nothing here changes it. Skips the test when there is no such server."""
    with migrated_database(kind, folder, migrations) as conf:
        asyncio.run(_fill(conf, fill))
        yield conf


def filled_fixtures(migrations: Path, fill: Callable[[Connection], None]) -> tuple[Any, Any]:
    """For a module's tests: ``filled_conf``, a filled database of each kind, and ``filled``, which is
    open."""

    @pytest.fixture(scope="module", params=KINDS)
    def filled_conf(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[DbConf]:
        folder = tmp_path_factory.mktemp("filled")
        with filled_database(request.param, folder, migrations, fill) as conf:
            yield conf

    @pytest.fixture
    async def filled(filled_conf: DbConf) -> AsyncIterator[Database]:
        db = Database(filled_conf)
        yield db
        await db.close()

    return filled_conf, filled


async def _fill(conf: DbConf, fill: Callable[[Connection], None]) -> None:
    db = Database(conf)
    try:
        await db.write(fill)
        if not db.is_sqlite:
            await db.write(_analyze)
    finally:
        await db.close()


def _analyze(connection: Connection) -> None:
    for table in inspect(connection).get_table_names():
        connection.execute(text(f"ANALYZE TABLE `{table}`")).close()


async def plans(db: Database, work: Work) -> list[Plan]:
    """The plans of the statements that ``work`` executes, but for INSERTs. Nothing is changed."""
    found: list[Plan] = []

    def explain(connection: Connection) -> None:
        with executed_queries() as executed:
            work(connection)
        found.extend(
            _plan(db, connection, query)
            for query in list(executed)
            if not query.statement.startswith("INSERT")
        )
        raise _Enough

    with suppress(_Enough):
        await db.write(explain)
    return found


async def plan(db: Database, work: Work) -> Plan:
    """The plan of the one statement of ``work``."""
    (found,) = await plans(db, work)
    return found


async def rows_read(db: Database, work: Work) -> int | None:
    """How many rows and entries of indexes ``work`` has MySQL read; None on SQLite, which does not
    tell. Nothing is changed."""
    found: list[int] = []

    def count(connection: Connection) -> None:
        before = _handler_reads(connection)
        work(connection)
        found.append(_handler_reads(connection) - before)
        raise _Enough

    if db.is_sqlite:
        return None
    with suppress(_Enough):
        await db.write(count)
    return found[0]


async def check_page(db: Database, page: Work, size: int) -> None:
    """Fails when a page of ``size`` costs more than it shows: when it reads a table, or many rows."""
    assert (await plan(db, page)).scans == []
    read = await rows_read(db, page)
    # Of each status as many, and what joins and sorts them.
    assert read is None or read <= 20 * size


def _handler_reads(connection: Connection) -> int:
    status = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    return sum(int(row[1]) for row in status)


def _plan(db: Database, connection: Connection, query: Executed) -> Plan:
    if db.is_sqlite:
        explained = f"EXPLAIN QUERY PLAN {query.statement}"
        lines = [row[3] for row in connection.exec_driver_sql(explained, query.parameters)]
        own = {line.split()[-1] for line in lines if line.startswith(("CO-ROUTINE", "MATERIALIZE"))}
        found = [match for line in lines if (match := _SQLITE.fullmatch(line))]
        steps = [_of_sqlite(connection, match) for match in found if match["table"] not in own]
        is_sorted = any("FOR ORDER BY" in line for line in lines)
    else:
        # MySQL 9 would draw a tree.
        explained = f"EXPLAIN FORMAT=TRADITIONAL {query.statement}"
        answer = connection.exec_driver_sql(explained, query.parameters)
        rows = [row for row in answer.mappings() if row["table"]]
        # <subquery2>, <derived3>: what the server makes for itself.
        steps = [_of_mysql(row) for row in rows if not row["table"].startswith("<")]
        is_sorted = any("filesort" in (row["Extra"] or "") for row in rows)
    return Plan(query.statement, tuple(steps), is_sorted)


def _of_sqlite(connection: Connection, match: re.Match[str]) -> Step:
    index = match["index"] or (PRIMARY if "PRIMARY KEY" in match[0].partition("(")[0] else "")
    if of_table := re.fullmatch(r"sqlite_autoindex_(\w+)_\d+", index):
        listed = connection.exec_driver_sql(f"PRAGMA index_list({of_table[1]})")
        if any(row[1] == index and row[3] == "pk" for row in listed):
            index = PRIMARY
    return Step(match["table"], index, match["how"] == "SCAN", None)


def _of_mysql(row: Mapping[Any, Any]) -> Step:
    is_scan = row["type"] in ("ALL", "index")
    return Step(row["table"], row["key"] or "", is_scan, int(row["rows"] or 0))
