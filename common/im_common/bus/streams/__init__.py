"""The bus on Redis Streams, the embedded default; see ``streams.layout`` for what it promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

from redis.asyncio import Redis

from im_common.bus.interface import Bus, Consumer, Lag, Producer, Record, Volume
from im_common.bus.streams.browsing import browse, lag, volume
from im_common.bus.streams.consumer import StreamsConsumer
from im_common.bus.streams.layout import ensure_topics
from im_common.bus.streams.producer import StreamsProducer
from im_common.runtime.sections import BusConf


def open_bus(_conf: BusConf, redis: Callable[[], Redis]) -> Bus:
    return StreamsBus(redis)


class StreamsBus:
    def __init__(self, redis: Callable[[], Redis]) -> None:
        self._redis = redis

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await ensure_topics(topics, redis=self._redis())

    def producer(
        self, client_id: str, *, timeout_ms: int = 8_000, buffer_records: int = 20_000
    ) -> Producer:
        return StreamsProducer(
            redis=self._redis(), timeout_ms=timeout_ms, buffer_records=buffer_records
        )

    def consumer(
        self, client_id: str, *, group: str, topics: Iterable[str], max_batch: int = 500
    ) -> Consumer:
        return StreamsConsumer(
            redis=self._redis(),
            group=group,
            topics=topics,
            client_id=client_id,
            max_batch=max_batch,
        )

    async def lag(self, topic: str, group: str) -> list[Lag]:
        # A topic has one group.
        return await lag(self._redis(), topic)

    async def volume(self, topic: str) -> Volume:
        return await volume(self._redis(), topic)

    def browse(self, topic: str) -> AsyncGenerator[Record, None]:
        return browse(self._redis(), topic)
