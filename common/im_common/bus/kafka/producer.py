"""Records into Kafka: acknowledged by all in-sync replicas, idempotent within one link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from zlib import crc32

from aiokafka.errors import KafkaError

from im_common.bus.batching import BatchingProducer, Outgoing
from im_common.bus.interface import BusUnavailable
from im_common.bus.kafka.client import Client, discard_producer, new_producer, shuffled
from im_common.runtime.backoff import describe

_PING_TIMEOUT_S = 3.0
_REQUEST_TIMEOUT_MS = 4_000


class KafkaProducer(BatchingProducer):
    """A record goes to partition ``crc32(key) % partitions``, as librdkafka's default has it.

    aiokafka repeats a request through a short outage (a leader's election); an error it cannot
    repeat may leave the idempotent producer refused for good, so any failure makes a new one.
    """

    def __init__(
        self,
        *,
        brokers: Sequence[str],
        client_id: str,
        timeout_ms: int = 8_000,
        buffer_records: int = 20_000,
    ) -> None:
        super().__init__(timeout_ms=timeout_ms, buffer_records=buffer_records)
        self._brokers = list(brokers)
        self._client_id = client_id
        self._client: Client = None

    async def _open(self) -> None:
        self._client = new_producer(
            bootstrap_servers=shuffled(self._brokers),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            # Batches are made by the lanes; lingering here would only delay a lone record.
            linger_ms=0,
            max_batch_size=1_000_000,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
        )
        async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000 * (len(self._brokers) + 1)):
            await self._client.start()

    async def _shut(self) -> None:
        # Forgotten only at the end: cancelled half-way, this is called once more.
        if self._client is not None:
            await discard_producer(self._client)
            self._client = None

    async def _count_partitions(self, topic: str) -> int:
        return len(await self._linked().partitions_for(topic))

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
