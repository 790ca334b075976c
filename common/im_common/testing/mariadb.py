"""A real MariaDB of a test's own, to be made read-only or asked for with TLS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncmy

from im_common.testing.ports import free_port
from im_common.testing.server import Server
from im_local import probes, sql_servers
from im_local.probes import Probe

DATABASE = "im_test"
USER, ADMIN = "im", "admin"


class MariadbServer(Server):
    """Has an empty database, an account for that alone and one that may do everything, without a
    password."""

    name = "mariadb"
    data = "data"

    def __init__(self, folder: Path, *, password: str = "im", settings: Sequence[str] = ()) -> None:
        """``password`` is USER's; ``settings`` go to the command line."""
        super().__init__(folder)
        self.port = free_port()
        self._password = password
        self._settings = settings

    @property
    def source(self) -> str:
        """As in DbConf."""
        return f"mysql+asyncmy://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    async def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """What ADMIN gets for it."""
        connection: Any = await asyncmy.connect(host="127.0.0.1", port=self.port, user=ADMIN)
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                return list(await cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def command(self) -> list[str]:
        statements = [
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} COLLATE utf8mb4_bin",
            *sql_servers.account(USER, self._password, f"ALL PRIVILEGES ON {DATABASE}.*"),
            *sql_servers.account(ADMIN, "", "ALL PRIVILEGES ON *.*"),
        ]
        accounts = sql_servers.write_accounts(self.folder / "accounts.sql", statements)
        return sql_servers.mariadb_argv(self.folder, self.port, accounts, self._settings)

    def probe(self) -> Probe:
        return probes.mysql(self.port)
