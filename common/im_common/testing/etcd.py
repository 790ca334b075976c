"""A real etcd for tests, from its wheel."""

from __future__ import annotations

from pathlib import Path

import grpc

from im_common.testing.ports import free_port
from im_common.testing.server import Server
from im_local import probes, servers
from im_local.probes import Probe


class EtcdServer(Server):
    """One node."""

    name = "etcd"
    data = "data"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port, self._peer_port = free_port(), free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def compact(self, revision: int) -> None:
        """Makes etcd forget what was before ``revision``."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            call = channel.unary_unary("/etcdserverpb.KV/Compact", bytes, bytes)
            # CompactionRequest{revision = 1, physical = 2}
            await call(b"\x08" + _varint(revision) + b"\x10\x01", timeout=5)

    def command(self) -> list[str]:
        return servers.etcd_argv(
            port=self._port, peer_port=self._peer_port, folder=self.folder / self.data
        )

    def probe(self) -> Probe:
        return probes.etcd(self._port)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))
