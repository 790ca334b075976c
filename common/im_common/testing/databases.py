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
import yaml
from pydantic import SecretStr

from im_common.runtime.sections import DbConf
from im_common.sql.migrate import upgrade
from im_common.sql.mysql_login import login_arguments

KINDS = ("sqlite", "mysql")
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


def missing(kind: str) -> str | None:
    """Why databases of this kind cannot be had here; None when they can."""
    if kind == "mysql" and mysql_server() is None:
        return f"needs a MySQL or MariaDB server: {VARIABLE} names none"
    return None


@contextmanager
def migrated_database(kind: str, folder: Path, migrations: Path) -> Iterator[DbConf]:
    """A new database with all tables; it is gone afterwards. Not for use inside a running loop."""
    if kind == "sqlite":
        file = folder / f"{secrets.token_hex(4)}.db"
        file.write_bytes(_migrated_file(migrations))
        yield _sqlite(file)
        return
    with empty_mysql_database() as conf:
        upgrade(conf, migrations)
        yield conf


@contextmanager
def empty_mysql_database() -> Iterator[DbConf]:
    """A new one without a table; it is gone afterwards. Not for use inside a running loop."""
    server = mysql_server()
    if server is None:
        raise RuntimeError(missing("mysql"))
    name = f"im_test_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    try:
        yield server.conf(name)
    finally:
        _execute(server, f"DROP DATABASE {name}")


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


def _execute(server: MysqlServer, statement: str) -> None:
    login = login_arguments(server.conf(""))

    async def execute() -> None:
        connection: Any = await asyncmy.connect(
            host=server.host, port=server.port, user=server.user, **login
        )
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
        finally:
            connection.close()

    asyncio.run(execute())
