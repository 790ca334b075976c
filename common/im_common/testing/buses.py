"""Real message logs for tests: on a Valkey, and on the Kafka that IM_TEST_INFRA names.

As a program (``python -m``) it is a consumer that never finishes a batch, to be killed by a test.
"""

from __future__ import annotations

import asyncio
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
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from im_common.bus import Consumer, Finish, Handler, Producer, Record
from im_common.bus.kinds import open_bus
from im_common.runtime.config import BusConf, RedisConf
from im_common.runtime.redis_client import open_redis
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually

Away = Callable[[], AbstractAsyncContextManager[None]]


class Bus:
    """What the product opens for a log of this kind, with the names that tests have for things.

    ``away`` makes its server silent until the block ends.
    """

    def __init__(self, kind: str, address: str, away: Away | None = None) -> None:
        self.kind = kind
        self.address = address
        self._away = away
        self._redis: Redis | None = None
        self._bus = open_bus(BusConf(kind=kind, brokers=address.split(",")), self.redis)

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

    def browse(self, topic: str) -> AsyncGenerator[Record, None]:
        return self._bus.browse(topic)

    def away(self) -> AbstractAsyncContextManager[None]:
        assert self._away is not None
        return self._away()

    def redis(self) -> Redis:
        """The server, where the log lies in Redis."""
        if self._redis is None:
            self._redis = open_redis(RedisConf(host=self.address))
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
    """On the Kafka that IM_TEST_INFRA names; skips the test when it names none. ``away`` freezes the
    broker: it is everybody's, and must keep its process id."""
    path = os.environ.get("IM_TEST_INFRA")
    if not path:
        pytest.skip("no Kafka: IM_TEST_INFRA names no infra file (scripts/infra up)")
    infra: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    pid = infra.get("pids", {}).get("kafka")

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        if pid is None:
            pytest.skip("the infra file does not say which process Kafka is")
        os.kill(pid, signal.SIGSTOP)
        try:
            # Its threads stop one after the other, and the last may still answer.
            await eventually(partial(_stands_still, pid))
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    return Bus("kafka", ",".join(infra["kafka"]["brokers"]), away)


def _stands_still(pid: int) -> bool:
    states = [
        stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) <= {"T", "Z"}


@asynccontextmanager
async def started(producer: Producer) -> AsyncIterator[Producer]:
    await producer.start()
    try:
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


async def _be_a_victim(kind: str, address: str, topic: str) -> None:
    """Prints the value of each record it has taken, and never finishes one."""

    async def take(batch: Sequence[Record]) -> Finish:
        for record in batch:
            print(record.value.decode(), flush=True)  # noqa: T201
        return _never

    await Bus(kind, address).consumer([topic]).run(take)


def _never() -> Awaitable[None]:
    return asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_be_a_victim(*sys.argv[1:]))
