"""What a transaction meets on MariaDB Galera when another node's is first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from im_common.runtime.faults import is_outage
from im_common.runtime.sections import DbConf
from im_common.sql.contention import is_conflict, transact
from im_common.sql.db import Database
from im_common.sql.direct import Statement, put_off
from im_common.testing.databases import VARIABLE, empty_mysql_database, mysql_server
from im_common.testing.waiting import eventually
from im_local.galera import Galera
from im_local.infra import read_port_offset
from im_local.paths import DataDir

_server = mysql_server()
pytestmark = pytest.mark.skipif(
    _server is None or not _server.nodes, reason="the database is no Galera here"
)


@pytest.fixture
def confs() -> Iterator[list[DbConf]]:
    """One database, by each node."""
    assert _server is not None
    with empty_mysql_database() as conf:
        name = make_url(conf.data_source).database or ""
        yield [_server.conf(name, at=node) for node in _server.nodes]


@pytest.fixture
async def nodes(confs: list[DbConf]) -> AsyncIterator[list[Database]]:
    """With a table `counted` of one row."""
    databases = [Database(conf) for conf in confs]
    await databases[0].write(_execute, "CREATE TABLE counted (id INT PRIMARY KEY, n INT NOT NULL)")
    await databases[0].write(_execute, "INSERT INTO counted VALUES (1, 0)")
    for database in databases:
        await eventually(partial(_has, database, 0))
    yield databases
    for database in databases:
        await database.close()


async def test_a_commit_that_another_node_has_overtaken_fails_as_a_conflict(
    nodes: list[Database],
) -> None:
    here, there, _ = nodes

    def overtaken(connection: Connection) -> None:
        _count(connection)
        await_only(there.write(_count))

    with pytest.raises(DBAPIError) as caught:
        await here.write(overtaken)
    assert is_conflict(caught.value)
    # Who does not try again by itself, as the consumer, says that it is away for a moment.
    assert is_outage(caught.value)
    for database in nodes:
        await eventually(partial(_has, database, 1))


async def test_it_is_tried_again_from_its_beginning(nodes: list[Database]) -> None:
    here, there, _ = nodes
    attempts = 0

    def overtaken_once(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        _count(connection)
        if attempts == 1:
            await_only(there.write(_count))

    await transact(here.write, overtaken_once)
    assert attempts == 2
    for database in nodes:
        await eventually(partial(_has, database, 2))


async def test_a_statement_that_goes_with_its_commit_is_a_conflict_as_well(
    nodes: list[Database],
) -> None:
    here, there, _ = nodes

    def overtaken(connection: Connection) -> None:
        _count(connection)
        await_only(there.write(_count))
        put_off(connection, Statement("INSERT INTO counted VALUES (2, 0)"))

    with pytest.raises(DBAPIError) as caught:
        await here.write(overtaken)
    assert is_conflict(caught.value)
    assert await here.read(_value, 2) is None


async def test_a_node_that_has_lost_the_others_is_left(nodes: list[Database]) -> None:
    lonely, admin = nodes[2], _admin()
    before = {await lonely.write(_connection_id), await lonely.read(_connection_id)}
    isolate = "SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'"
    await asyncio.to_thread(partial(admin.ask, isolate.format(1), node=3))
    try:
        await eventually(partial(_refuses, lonely), within_s=30)
        with pytest.raises(Exception) as caught:
            await lonely.ping()
        assert is_outage(caught.value)
    finally:
        await asyncio.to_thread(partial(admin.ask, isolate.format(0), node=3))
    await eventually(partial(_has, lonely, 0), within_s=30)
    assert before.isdisjoint(
        {await lonely.write(_connection_id), await lonely.read(_connection_id)}
    )
    await eventually(partial(asyncio.to_thread, admin.is_whole), within_s=30)


def _admin() -> Galera:
    data = DataDir.at(Path(os.environ[VARIABLE]).resolve().parent)
    return Galera(data, read_port_offset(data))


async def _refuses(database: Database) -> bool:
    """Whether it says that it is no part of its cluster."""
    try:
        await database.read(_value, 1)
    except DBAPIError as error:
        return bool(error.orig and error.orig.args[0] == 1047)
    return False


def _connection_id(connection: Connection) -> int:
    return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


def _execute(connection: Connection, statement: str) -> None:
    connection.execute(text(statement)).close()


def _count(connection: Connection) -> None:
    _execute(connection, "UPDATE counted SET n = n + 1 WHERE id = 1")


def _value(connection: Connection, row: int) -> int | None:
    query = text("SELECT n FROM counted WHERE id = :row")
    return connection.execute(query, {"row": row}).scalar_one_or_none()


async def _has(database: Database, value: int) -> bool:
    """Whether the node has it by now."""
    try:
        return await database.read(_value, 1) == value
    except (DBAPIError, ConnectionError):
        # Not even the table, or no part of its cluster yet.
        return False
