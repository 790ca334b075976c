"""Records into Redis Streams: a batch is one script call, all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from im_common.bus.batching import BatchingProducer, Outgoing
from im_common.bus.interface import BusUnavailable
from im_common.bus.streams import layout
from im_common.bus.streams.records import pack
from im_common.runtime.backoff import describe
from im_common.runtime.chunks import chunks

_PING_TIMEOUT_S = 3.0


class StreamsProducer(BatchingProducer):
    """A record goes to partition ``crc32(key) % partitions``, as on Kafka.

    ``redis`` tells where the server is; the producer has connections of its own.
    ``max_backlog`` is how many records a partition may hold before it takes no more, so that
    consumers that are away do not fill the memory of Redis.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        timeout_ms: int = 8_000,
        buffer_records: int = 20_000,
        max_backlog: int = 1_000_000,
    ) -> None:
        super().__init__(timeout_ms=timeout_ms, buffer_records=buffer_records)
        self._redis = layout.own_client(redis, timeout_s=timeout_ms / 1000)
        self._ping_redis = layout.own_client(redis, timeout_s=_PING_TIMEOUT_S)
        self._max_backlog = max_backlog
        self._append = self._redis.register_script(layout.APPEND)

    async def _open(self) -> None:
        await self.ping()

    async def _shut(self) -> None:
        for client in (self._redis, self._ping_redis):
            await client.disconnect()

    async def _count_partitions(self, topic: str) -> int:
        return await layout.partition_count(self._redis, topic)

    def _partition_of(self, key: bytes, count: int) -> int:
        return crc32(key) % count

    async def _write(self, topic: str, partition: int, batch: Sequence[Outgoing]) -> None:
        arguments: list[bytes | int] = [self._max_backlog]
        for some in chunks(batch, layout.MOST_IN_ENTRY):
            arguments += (len(some), pack(some))
        keys = [layout.stream_key(topic, partition), layout.counts_key(topic, partition)]
        try:
            await self._append(keys=keys, args=arguments)
        except ResponseError as error:
            if layout.FULL in str(error):
                raise BusUnavailable(f"{topic} {partition}: {layout.FULL}") from error
            raise

    async def ping(self) -> None:
        try:
            await self._ping_redis.ping()
        except layout.OUTAGE as error:
            raise BusUnavailable(f"no answer from Redis: {describe(error)}") from error
