"""Real message logs for tests: on a Valkey, and on the Kafka that IM_TEST_INFRA names.

As a program (``python -m``) it is a consumer that never finishes a batch, to be killed by a test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from redis.asyncio import Redis

from im_common.bus import Consumer, Finish, Handler, Producer, Record, kafka, redis_streams
from im_common.bus.browsing import browse
from im_common.runtime.config import BusConf
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually


class Bus(Protocol):
    """One kind of log. ``away`` makes its server silent until the block ends."""

    kind: str
    address: str

    async def ensure_topics(self, topics: Mapping[str, int]) -> None: ...

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer: ...

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer: ...

    def browse(self, topic: str) -> AsyncIterator[Record]: ...

    @asynccontextmanager
    def away(self) -> AsyncIterator[None]: ...

    async def aclose(self) -> None: ...


class StreamsBus:
    """``away`` kills the server, and starts it again on the same data."""

    kind = "redis"

    def __init__(self, address: str, server: ValkeyServer | None = None) -> None:
        self.address = address
        self._server = server
        host, _, port = address.rpartition(":")
        self.redis = Redis(host=host, port=int(port))

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await redis_streams.ensure_topics(topics, redis=self.redis)

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer:
        return redis_streams.StreamsProducer(
            redis=self.redis, timeout_ms=timeout_ms, buffer_records=buffer_records
        )

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer:
        return redis_streams.StreamsConsumer(
            redis=self.redis, group=group, topics=topics, client_id="test", max_batch=100
        )

    def browse(self, topic: str) -> AsyncIterator[Record]:
        return browse(BusConf(kind="redis"), self.redis, topic)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        assert self._server is not None
        self._server.kill()
        try:
            yield
        finally:
            await asyncio.to_thread(self._server.start)

    async def aclose(self) -> None:
        await self.redis.aclose()


class KafkaBus:
    """``away`` freezes the broker: it is everybody's, and must keep its process id."""

    kind = "kafka"

    def __init__(self, address: str, pid: int | None = None) -> None:
        self.address = address
        self._pid = pid

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await kafka.ensure_topics(topics, brokers=self._brokers())

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer:
        return kafka.KafkaProducer(
            brokers=self._brokers(),
            client_id="test",
            timeout_ms=timeout_ms,
            buffer_records=buffer_records,
        )

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer:
        # A group of its own for each topic, so that no test waits for another's rebalance.
        topics = sorted(topics)
        return kafka.KafkaConsumer(
            brokers=self._brokers(),
            group=f"{group}-{topics[0]}",
            topics=topics,
            client_id="test",
            max_batch=100,
        )

    def browse(self, topic: str) -> AsyncIterator[Record]:
        # Kafka needs no Redis.
        nothing: Any = None
        return browse(BusConf(kind="kafka", brokers=self._brokers()), nothing, topic)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        if self._pid is None:
            pytest.skip("the infra file does not say which process Kafka is")
        os.kill(self._pid, signal.SIGSTOP)
        try:
            # Its threads stop one after the other, and the last may still answer.
            await eventually(partial(_stands_still, self._pid))
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    async def aclose(self) -> None:
        pass

    def _brokers(self) -> list[str]:
        return self.address.split(",")


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


def kafka_of_the_infra() -> KafkaBus:
    """Skips the test when IM_TEST_INFRA names no infra file."""
    path = os.environ.get("IM_TEST_INFRA")
    if not path:
        pytest.skip("no Kafka: IM_TEST_INFRA names no infra file (scripts/infra up)")
    infra: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return KafkaBus(",".join(infra["kafka"]["brokers"]), infra.get("pids", {}).get("kafka"))


def _stands_still(pid: int) -> bool:
    states = [
        stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) <= {"T", "Z"}


async def _be_a_victim(kind: str, address: str, topic: str) -> None:
    """Prints the value of each record it has taken, and never finishes one."""
    made: Bus = StreamsBus(address) if kind == "redis" else KafkaBus(address)

    async def take(batch: Sequence[Record]) -> Finish:
        for record in batch:
            print(record.value.decode(), flush=True)  # noqa: T201
        return _never

    await made.consumer([topic]).run(take)


def _never() -> Awaitable[None]:
    return asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_be_a_victim(*sys.argv[1:]))
