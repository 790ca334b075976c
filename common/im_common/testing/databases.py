"""Databases for tests: SQLite files, and databases of a real MySQL or MariaDB when there is one.

The variable IM_TEST_INFRA names the YAML file that describes the server, as `scripts/infra` writes
it: `mysql: {host, port, user, password_file}`, with `tls`, `tls_ca_file` and so on as in DbConf.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncmy
import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import make_url

from im_common.runtime.sections import DbConf
from im_common.sql.migrate import upgrade
from im_common.sql.mysql_login import login_arguments

KINDS = ("sqlite", "mysql")
# A text, and what stands in it for %s.
Statement = tuple[str, Sequence[Any]]
VARIABLE = "IM_TEST_INFRA"


@dataclass(frozen=True, slots=True)
class MysqlServer:
    host: str
    port: int
    user: str
    password: str
    # As in DbConf.
    tls: Mapping[str, str]
    # `host:port` of each node where it is a Galera, whose proxy is at `host` and `port`.
    nodes: Sequence[str] = ()

    def conf(self, database: str, *, at: str = "") -> DbConf:
        """Of the server, or of one of its nodes."""
        address = at or f"{self.host}:{self.port}"
        return DbConf(
            data_source=f"mysql+asyncmy://{self.user}@{address}/{database}",
            password=SecretStr(self.password),
            **self.tls,  # type: ignore[arg-type]
        )


def mysql_server() -> MysqlServer | None:
    """The server that IM_TEST_INFRA names; None when it names none."""
    file = os.environ.get(VARIABLE)
    described = yaml.safe_load(Path(file).read_text("utf-8")).get("mysql") if file else None
    if not file or not described:
        return None
    password = str(described.get("password", ""))
    if "password_file" in described:
        password = (Path(file).parent / described["password_file"]).read_text("utf-8").strip()
    return MysqlServer(
        host=str(described["host"]),
        port=int(described.get("port", 3306)),
        user=str(described["user"]),
        password=password,
        tls={
            # Files are beside the file that names them.
            name: str(Path(file).parent.absolute() / value)
            if name.endswith("_file")
            else str(value)
            for name, value in described.items()
            if name.startswith("tls")
        },
        nodes=described.get("nodes", ()),
    )


@contextmanager
def migrated_database(kind: str, folder: Path, migrations: Path) -> Iterator[DbConf]:
    """A new database with all tables; it is gone afterwards. Skips the test when there is no such
    server. Not for use inside a running loop."""
    if kind == "sqlite":
        file = folder / f"{secrets.token_hex(4)}.db"
        file.write_bytes(_migrated_file(migrations))
        yield _sqlite(file)
        return
    with _mysql_database(_migrated_tables(migrations)) as (_, conf):
        yield conf


@contextmanager
def empty_mysql_database() -> Iterator[DbConf]:
    """As ``migrated_database``, without a table."""
    with _mysql_database() as (_, conf):
        yield conf


@contextmanager
def _mysql_database(content: Sequence[Statement] = ()) -> Iterator[tuple[MysqlServer, DbConf]]:
    server = mysql_server()
    if server is None:
        pytest.skip(f"needs a MySQL or MariaDB server: {VARIABLE} names none")
    name = f"im_test_{secrets.token_hex(6)}"
    create = f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    _execute(server, (create, ()), (f"USE {name}", ()), *content)
    try:
        yield server, server.conf(name)
    finally:
        _execute(server, (f"DROP DATABASE {name}", ()))


@cache
def _migrated_tables(migrations: Path) -> list[Statement]:
    """What makes the tables with all that the migrations put into them. They run once: to make the
    tables alone takes a third of the time less, and of the processor's."""
    with _mysql_database() as (server, conf):
        upgrade(conf, migrations)
        database = make_url(conf.data_source).database
        [*_, tables] = _execute(server, (f"USE {database}", ()), ("SHOW TABLES", ()))
        # They may refer to one another.
        statements: list[Statement] = [("SET FOREIGN_KEY_CHECKS = 0", ())]
        for (table,) in tables:
            [[(_, create)], rows] = _execute(
                server,
                (f"SHOW CREATE TABLE {database}.{table}", ()),
                (f"SELECT * FROM {database}.{table}", ()),
            )
            statements.append((create, ()))
            for row in rows:
                values = ", ".join(["%s"] * len(row))
                statements.append((f"INSERT INTO {table} VALUES ({values})", row))
        return statements


@cache
def _migrated_file(migrations: Path) -> bytes:
    """Made once: to write it takes no time beside the migrations."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "migrated.db"
        upgrade(_sqlite(file), migrations)
        # Closed, it is whole without the log beside it.
        assert not list(Path(folder).glob("*-wal"))
        return file.read_bytes()


def _sqlite(file: Path) -> DbConf:
    return DbConf(data_source=f"sqlite+aiosqlite:///{file}")


def _execute(server: MysqlServer, *statements: Statement) -> list[Sequence[Any]]:
    """One after the other on one connection; the rows of each."""
    login = login_arguments(server.conf(""))

    async def execute() -> list[Sequence[Any]]:
        connection: Any = await asyncmy.connect(
            host=server.host, port=server.port, user=server.user, autocommit=True, **login
        )
        found = []
        try:
            async with connection.cursor() as cursor:
                for text, values in statements:
                    await cursor.execute(text, values or None)
                    found.append(await cursor.fetchall() if cursor.description else ())
        finally:
            connection.close()
        return found

    return asyncio.run(execute())
