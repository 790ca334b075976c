"""Records into Kafka: acknowledged by all in-sync replicas, idempotent within one link."""

from __future__ import annotations

import asyncio
import time
from zlib import crc32

import structlog
from aiokafka.errors import KafkaError

from im_common.bus.batching import BatchingProducer, Outgoing
from im_common.bus.interface import BusUnavailable
from im_common.bus.kafka.client import Access, Client, discard_producer, new_producer
from im_common.runtime.backoff import describe
from im_common.runtime.tasks import background, end

log = structlog.get_logger(__name__)

_PING_TIMEOUT_S = 3.0
_REQUEST_TIMEOUT_MS = 4_000
_METADATA_MAX_AGE_MS = 10_000
# How often it looks whether a topic has more partitions, and how long consumers have to see them.
_LOOK_EVERY_S = 5.0
_USED_AFTER_S = 15.0


class KafkaProducer(BatchingProducer):
    """A record goes to partition ``crc32(key) % partitions``, as librdkafka's default has it.

    aiokafka repeats a request through a short outage (a leader's election); an error it cannot
    repeat may leave the idempotent producer refused for good, so any failure makes a new one.
    """

    def __init__(
        self,
        *,
        access: Access,
        client_id: str,
        timeout_ms: int = 8_000,
        buffer_records: int = 20_000,
    ) -> None:
        super().__init__(timeout_ms=timeout_ms, buffer_records=buffer_records)
        self._access = access
        self._client_id = client_id
        self._client: Client = None
        self._looking: asyncio.Task[None] | None = None

    async def _open(self) -> None:
        self._client = new_producer(
            **self._access.arguments(),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            # Batches are made by the lanes; lingering here would only delay a lone record.
            linger_ms=0,
            max_batch_size=1_000_000,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            retry_backoff_ms=100,
            metadata_max_age_ms=_METADATA_MAX_AGE_MS,
        )
        brokers = len(self._access.conf.brokers)
        async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000 * (brokers + 1)):
            await self._client.start()
        self._looking = background(self._look_for_partitions(), "bus-partitions")

    async def _shut(self) -> None:
        if self._looking is not None:
            await end(self._looking)
            self._looking = None
        # Forgotten only at the end: cancelled half-way, this is called once more.
        if self._client is not None:
            await discard_producer(self._client)
            self._client = None

    async def _count_partitions(self, topic: str) -> int:
        return len(await self._linked().partitions_for(topic))

    async def _look_for_partitions(self) -> None:
        """Has a topic's partitions counted anew some time after some were added."""
        seen_at: dict[tuple[str, int], float] = {}
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for topic, used in list(self._partition_counts.items()):
                try:
                    count = await self._count_partitions(topic)
                except (KafkaError, BusUnavailable):
                    continue  # who sends is told
                since = seen_at.setdefault((topic, count), time.monotonic())
                if count != used and time.monotonic() - since >= _USED_AFTER_S:
                    log.info("bus.more_partitions", topic=topic, before=used, now=count)
                    self._partition_counts.pop(topic, None)

    def _partition_of(self, key: bytes, count: int) -> int:
        return crc32(key) % count

    async def _write(self, topic: str, partition: int, batch: list[Outgoing]) -> None:
        client = self._linked()
        builder = client.create_batch()
        now_ms = time.time_ns() // 1_000_000
        for outgoing in batch:
            headers = list(outgoing.headers.items()) if outgoing.headers else []
            if not builder.append(
                timestamp=now_ms, key=outgoing.key, value=outgoing.value, headers=headers
            ):
                raise BusUnavailable("the batch does not fit into a request")
        await (await client.send_batch(builder, topic, partition=partition))

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._linked().client.fetch_all_metadata()
        except (KafkaError, TimeoutError) as error:
            raise BusUnavailable(f"no answer from Kafka: {describe(error)}") from error

    def _linked(self) -> Client:
        if self._client is None:
            raise BusUnavailable("not connected")
        return self._client
