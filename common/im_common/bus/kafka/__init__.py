"""The bus on Kafka."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

from redis.asyncio import Redis

from im_common.bus.interface import Bus, Consumer, Lag, Producer, Record, Volume
from im_common.bus.kafka.browsing import browse, lag, volume
from im_common.bus.kafka.client import Access
from im_common.bus.kafka.consumer import KafkaConsumer
from im_common.bus.kafka.producer import KafkaProducer
from im_common.bus.kafka.topics import ensure_topics
from im_common.runtime.sections import BusConf


def open_bus(conf: BusConf, _redis: Callable[[], Redis]) -> Bus:
    """Raises ValueError when a file of the settings cannot be used."""
    return KafkaBus(Access(conf))


class KafkaBus:
    def __init__(self, access: Access) -> None:
        self._access = access

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await ensure_topics(topics, self._access)

    def producer(
        self, client_id: str, *, timeout_ms: int = 8_000, buffer_records: int = 20_000
    ) -> Producer:
        return KafkaProducer(
            access=self._access,
            client_id=client_id,
            timeout_ms=timeout_ms,
            buffer_records=buffer_records,
        )

    def consumer(
        self, client_id: str, *, group: str, topics: Iterable[str], max_batch: int = 500
    ) -> Consumer:
        return KafkaConsumer(
            access=self._access,
            group=group,
            topics=topics,
            client_id=client_id,
            max_batch=max_batch,
        )

    async def lag(self, topic: str, group: str) -> list[Lag]:
        return await lag(self._access, topic, group)

    async def volume(self, topic: str) -> Volume:
        return await volume(self._access, topic)

    def browse(self, topic: str) -> AsyncGenerator[Record, None]:
        return browse(self._access, topic)
