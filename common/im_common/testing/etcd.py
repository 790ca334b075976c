"""A real etcd for tests, from its wheel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import grpc

from im_common.runtime.sections import EtcdConf
from im_common.testing.ports import free_port
from im_common.testing.server import Server
from im_local import probes, servers
from im_local.etcd_cluster import ETCD_CLUSTER, etcdctl
from im_local.infra_file import access_of
from im_local.infra_server import Server as Described
from im_local.paths import DataDir
from im_local.probes import Probe
from im_local.testing import free_port_offset


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

    @property
    def conf(self) -> EtcdConf:
        return EtcdConf(hosts=[self.address])

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


class EtcdMember(Server):
    """One of three that ask for a password and a certificate, as `scripts/infra` has them."""

    name = "etcd"
    data = "data"

    def __init__(self, described: Described) -> None:
        super().__init__(described.folder)
        self._described = described

    def command(self) -> list[str]:
        return self._described.prepare()

    def probe(self) -> Probe:
        return self._described.probe


class EtcdCluster:
    """Three members, in ``data``; all methods block."""

    def __init__(self, data: DataDir) -> None:
        data.make()
        wanted = [port for one in ETCD_CLUSTER.servers(data, 0) for port in one.ports]
        offset = free_port_offset(wanted)
        self._data = data
        self._described = ETCD_CLUSTER.servers(data, offset)
        self._settings = ETCD_CLUSTER.described(offset)
        self.members = [EtcdMember(one) for one in self._described]

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        cluster = cls(DataDir.at(folder))
        try:
            # A lone one is not ready before there are two.
            with ThreadPoolExecutor(len(cluster.members)) as pool:
                list(pool.map(EtcdMember.start, cluster.members))
            for described in cluster._described:
                described.finish()
            yield cluster
        finally:
            for member in cluster.members:
                member.kill()

    @property
    def conf(self) -> EtcdConf:
        """As the user `im`."""
        access = access_of(self._settings, self._data.path)
        return EtcdConf.model_validate({"hosts": self._settings["hosts"], **access})

    def leader(self) -> EtcdMember:
        status = json.loads(self.control("endpoint", "status", "-w", "json", "--cluster"))
        ports = [int(host.rpartition(":")[2]) for host in self._settings["hosts"]]
        (leader,) = [
            one["Endpoint"]
            for one in status
            if one["Status"]["leader"] == one["Status"]["header"]["member_id"]
        ]
        return self.members[ports.index(int(leader.rpartition(":")[2]))]

    def control(self, *words: str, given: str = "") -> str:
        """etcdctl, as root; ``given`` is its input."""
        hosts = self._settings["hosts"]
        return etcdctl(self._data, hosts, *words, given=given, as_root=True)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))
