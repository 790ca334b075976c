"""A real cluster of six Valkeys for tests, from their wheel: three primaries with a replica each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from im_common.runtime.sections import RedisConf
from im_common.testing.ports import free_port
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually
from im_local.servers import flags

_SLOTS = 16_384
_NODE_TIMEOUT_MS = 1_000


class _Node(ValkeyServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bus_port = free_port()

    @property
    def port(self) -> int:
        return self._port

    @property
    def bus_port(self) -> int:
        return self._bus_port

    def command(self) -> list[str]:
        more = flags(
            cluster_enabled="yes",
            cluster_port=self._bus_port,
            cluster_node_timeout=_NODE_TIMEOUT_MS,
            # A replica is asked to vote at once.
            cluster_replica_validity_factor=0,
        )
        return [*super().command(), *more]


class RedisCluster:
    """Of each node its server, and a client of it alone."""

    def __init__(self, servers: list[_Node], clients: list[Any]) -> None:
        self.servers = servers
        self.clients = clients

    @property
    def conf(self) -> RedisConf:
        hosts = ",".join(server.conf.host for server in self.servers)
        return RedisConf(type="cluster", host=hosts)

    async def primary_of(self, slot: int) -> int:
        """The number of the node that has it."""
        for number, client in enumerate(self.clients):
            if self.servers[number].is_running:
                for first, last, primary, *_ in await client.execute_command("CLUSTER SLOTS"):
                    if first <= slot <= last:
                        ports = [server.port for server in self.servers]
                        return ports.index(primary[1])
        raise LookupError(slot)

    async def move(self, slot: int, *, to: int) -> None:
        """As an operator does, one key after the other."""
        source = await self.primary_of(slot)
        ids = [await self.id_of(number) for number in (source, to)]
        port = self.servers[to].port
        await self.clients[to].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        one = self.clients[source]
        await one.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        while keys := await one.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            await one.execute_command("MIGRATE", "127.0.0.1", port, keys[0], 0, 5_000)
        # The third one, too: two primaries may have the same epoch for a moment, and then who has not
        # heard of the move gives the slot back to the one that no longer takes it.
        for number in (to, source, 3 - to - source):
            await self.clients[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        # The move has made an epoch. Who makes the next one without having heard of it makes the same.
        await eventually(self._have_one_epoch, within_s=20)

    async def id_of(self, number: int) -> str:
        said: Any = await self.clients[number].execute_command("CLUSTER", "MYID")
        return str(said.decode())

    async def join(self) -> None:
        """Makes one of them; returns when each replica follows its primary."""
        for number, (first, after) in enumerate(pairwise([0, 5_461, 10_923, _SLOTS])):
            await self.clients[number].execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for number, server in enumerate(self.servers):
            await self.clients[number].execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                await self.clients[0].execute_command(
                    "CLUSTER", "MEET", "127.0.0.1", server.port, server.bus_port
                )
        await eventually(self._all_know_all)
        for number in (3, 4, 5):
            primary = await self.id_of(number - 3)
            await self.clients[number].execute_command("CLUSTER", "REPLICATE", primary)
        await eventually(self._is_whole, within_s=20)

    async def _all_know_all(self) -> bool:
        infos = [await client.cluster("INFO") for client in self.clients]
        return all(info["cluster_known_nodes"] == "6" for info in infos)

    async def _have_one_epoch(self) -> bool:
        infos = [await client.cluster("INFO") for client in self.clients[:3]]
        return len({info["cluster_current_epoch"] for info in infos}) == 1

    async def _is_whole(self) -> bool:
        infos = [await client.info("replication") for client in self.clients[3:]]
        states = [await client.cluster("INFO") for client in self.clients]
        return all(info.get("master_link_status") == "up" for info in infos) and all(
            state["cluster_state"] == "ok" for state in states
        )


@asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[RedisCluster]:
    """Runs as long as the block."""
    async with AsyncExitStack() as stack:
        servers = [_Node(folder / str(number)) for number in range(6)]
        for server in servers:
            stack.callback(server.kill)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        clients = [Redis(port=server.port) for server in servers]
        for client in clients:
            stack.push_async_callback(client.aclose)
        cluster = RedisCluster(servers, clients)
        await cluster.join()
        yield cluster
