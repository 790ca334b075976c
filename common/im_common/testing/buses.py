"""Real message logs for tests: on a Valkey, and on the Kafka that IM_TEST_INFRA names.

As a program (``python -m``) it is a consumer that never finishes a batch, to be killed by a test.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
from redis.asyncio import Redis

from im_common.bus import Consumer, Finish, Handler, Producer, Record, Volume
from im_common.bus.kinds import open_bus
from im_common.runtime.redis_client import open_redis
from im_common.runtime.sections import BusConf, RedisConf
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually
from im_local.infra_file import read_infra

Away = Callable[[], AbstractAsyncContextManager[None]]


class Bus:
    """What the product opens for a log of this kind, with the names that tests have for things.

    ``away`` makes its server silent until the block ends.
    """

    def __init__(
        self,
        kind: str,
        address: str,
        away: Away | None = None,
        access: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``access`` is what else the settings of the bus have."""
        self.kind = kind
        self.conf = BusConf.model_validate({"kind": kind, "brokers": address, **access})
        self._address, self._access = address, access
        self._away = away
        self._redis: Redis | None = None
        self._bus = open_bus(self.conf, self.redis)

    def victim(self, topic: str) -> list[str]:
        """The command line of a consumer that never finishes a batch."""
        access = json.dumps(dict(self._access))
        return [sys.executable, "-m", __name__, self.kind, self._address, access, topic]

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await self._bus.ensure_topics(topics)

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer:
        return self._bus.producer("test", timeout_ms=timeout_ms, buffer_records=buffer_records)

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer:
        # A group of its own for each topic, so that no test waits for another's rebalance.
        topics = sorted(topics)
        return self._bus.consumer(
            "test", group=f"{group}-{topics[0]}", topics=topics, max_batch=100
        )

    async def lag(self, topic: str, *, group: str = "g") -> dict[int, int]:
        """By partition."""
        return {
            one.partition: one.records for one in await self._bus.lag(topic, f"{group}-{topic}")
        }

    async def volume(self, topic: str) -> Volume:
        return await self._bus.volume(topic)

    def browse(self, topic: str) -> AsyncGenerator[Record, None]:
        return self._bus.browse(topic)

    def away(self) -> AbstractAsyncContextManager[None]:
        assert self._away is not None
        return self._away()

    def redis(self) -> Redis:
        """The server, where the log lies in Redis."""
        if self._redis is None:
            self._redis = open_redis(RedisConf(host=self._address))
        return self._redis

    async def aclose(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()


def streams_bus(server: ValkeyServer) -> Bus:
    """On a server of the test's own: ``away`` kills it, and starts it again on the same data."""

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        server.kill()
        try:
            yield
        finally:
            await asyncio.to_thread(server.start)

    return Bus("redis", server.conf.host, away)


def kafka_bus() -> Bus:
    """On the Kafka that IM_TEST_INFRA names; skips the test when it names none. ``away`` freezes its
    brokers: they are everybody's, and must keep their process ids."""
    path = os.environ.get("IM_TEST_INFRA")
    if not path:
        pytest.skip("no Kafka: IM_TEST_INFRA names no infra file (scripts/infra up)")
    infra = read_infra(Path(path))
    pids = [pid for name, pid in infra.pids.items() if name.partition("-")[0] == "kafka"]

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        if not pids:
            pytest.skip("the infra file does not say which process Kafka is")
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            for pid in pids:
                # Its threads stop one after the other, and the last may still answer.
                await eventually(partial(_stands_still, pid))
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    return Bus("kafka", ",".join(infra.kafka), away, infra.kafka_access)


def _stands_still(pid: int) -> bool:
    states = [
        stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) <= {"T", "Z"}


@asynccontextmanager
async def started(producer: Producer, *, is_there: bool = True) -> AsyncIterator[Producer]:
    """Connected, if its log is there: by TLS on a full machine that takes longer than a start waits."""
    await producer.start()
    try:
        if is_there:
            await eventually(producer.connected, within_s=20)
        yield producer
    finally:
        await producer.close()


@asynccontextmanager
async def consuming(consumer: Consumer, handler: Handler) -> AsyncIterator[Consumer]:
    """Runs it until the block ends, then stops it gracefully."""
    task = asyncio.create_task(consumer.run(handler))
    try:
        yield consumer
        await consumer.stop()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Sink:
    """A handler that keeps what it was given, in order."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.values: list[bytes] = []

    async def __call__(self, batch: Sequence[Record]) -> None:
        self.batches.append(list(batch))
        self.values += [record.value for record in batch]


async def _be_a_victim(kind: str, address: str, access: str, topic: str) -> None:
    """Prints the value of each record it has taken, and never finishes one."""

    async def take(batch: Sequence[Record]) -> Finish:
        for record in batch:
            print(record.value.decode(), flush=True)  # noqa: T201
        return _never

    await Bus(kind, address, access=json.loads(access)).consumer([topic]).run(take)


def _never() -> Awaitable[None]:
    return asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_be_a_victim(*sys.argv[1:]))
