"""A real Valkey (Redis protocol) for tests, from its wheel."""

from __future__ import annotations

from pathlib import Path

from im_common.runtime.sections import RedisConf
from im_common.testing.ports import free_port
from im_common.testing.server import Server
from im_local import probes, servers
from im_local.probes import Probe


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
        return servers.valkey_argv(port=self._port, folder=self.folder)

    def probe(self) -> Probe:
        return probes.redis(self._port)
