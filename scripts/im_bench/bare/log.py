"""The log: a topic of Kafka, or a stream of Redis for each partition."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import aiokafka
import aiokafka.admin
from redis.asyncio import Redis

from im_bench.bare.parts import PARTITIONS, Servers

_MOST = 500
_WAIT_MS = 1_000
# The library has no types.
_kafka: Any = aiokafka
_admin: Any = aiokafka.admin


class Writer(Protocol):
    async def write(self, partition: int, values: Sequence[bytes]) -> None:
        """Returns when all are safe, in this order."""


class Reader(Protocol):
    async def read(self) -> list[bytes]:
        """What has come, each partition in order; waits until there is something, a second at most."""


@asynccontextmanager
async def new_log(servers: Servers) -> AsyncIterator[None]:
    """It is there during the block. A stream comes with its first record, and goes with its Redis."""
    if servers.infra is None:
        yield
        return
    admin = _admin.AIOKafkaAdminClient(bootstrap_servers=servers.infra.kafka)
    await admin.start()
    try:
        await admin.create_topics([_admin.NewTopic(servers.name, PARTITIONS, 1)])
        yield
        await admin.delete_topics([servers.name])
    finally:
        await admin.close()


def writer(servers: Servers) -> AbstractAsyncContextManager[Writer]:
    return _redis_writer(servers) if servers.infra is None else _kafka_writer(servers)


def reader(servers: Servers) -> AbstractAsyncContextManager[Reader]:
    return _redis_reader(servers) if servers.infra is None else _kafka_reader(servers)


@asynccontextmanager
async def _kafka_writer(servers: Servers) -> AsyncIterator[Writer]:
    assert servers.infra is not None
    client = _kafka.AIOKafkaProducer(
        bootstrap_servers=servers.infra.kafka,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=1_000_000,
    )
    await client.start()
    try:
        await client.partitions_for(servers.name)
        yield _KafkaWriter(client, servers.name)
    finally:
        await client.stop()


class _KafkaWriter:
    def __init__(self, client: Any, topic: str) -> None:
        self._client = client
        self._topic = topic

    async def write(self, partition: int, values: Sequence[bytes]) -> None:
        batch, now_ms = self._client.create_batch(), time.time_ns() // 1_000_000
        for value in values:
            batch.append(timestamp=now_ms, key=None, value=value, headers=[])
        await (await self._client.send_batch(batch, self._topic, partition=partition))


@asynccontextmanager
async def _kafka_reader(servers: Servers) -> AsyncIterator[Reader]:
    assert servers.infra is not None
    client = _kafka.AIOKafkaConsumer(
        bootstrap_servers=servers.infra.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await client.start()
    try:
        client.assign([_kafka.TopicPartition(servers.name, n) for n in range(PARTITIONS)])
        yield _KafkaReader(client)
    finally:
        await client.stop()


class _KafkaReader:
    def __init__(self, client: Any) -> None:
        self._client = client

    async def read(self) -> list[bytes]:
        found = await self._client.getmany(timeout_ms=_WAIT_MS, max_records=_MOST)
        return [record.value for records in found.values() for record in records]


@asynccontextmanager
async def _redis_writer(servers: Servers) -> AsyncIterator[Writer]:
    async with Redis.from_url(servers.redis) as client:
        yield _RedisWriter(client, servers.name)


class _RedisWriter:
    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._name = name

    async def write(self, partition: int, values: Sequence[bytes]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for value in values:
            pipeline.xadd(f"{self._name}:{partition}", {"v": value})
        await pipeline.execute()


@asynccontextmanager
async def _redis_reader(servers: Servers) -> AsyncIterator[Reader]:
    async with Redis.from_url(servers.redis) as client:
        yield _RedisReader(client, servers.name)


class _RedisReader:
    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._after: dict[Any, Any] = {f"{name}:{n}".encode(): "0" for n in range(PARTITIONS)}

    async def read(self) -> list[bytes]:
        values = []
        found: Any = await self._client.xread(self._after, count=_MOST, block=_WAIT_MS)
        for stream, entries in found:
            self._after[stream] = entries[-1][0]
            values += [fields[b"v"] for _, fields in entries]
        return values
