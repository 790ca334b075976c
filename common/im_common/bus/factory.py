"""The bus that the settings name. Only its own libraries are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
from redis.asyncio import Redis

from im_common.bus.interface import BusUnavailable, Consumer, Producer
from im_common.runtime.config import BusConf

log = structlog.get_logger(__name__)

ENSURE_AGAIN_S = 1.0


def open_producer(conf: BusConf, client_id: str, redis: Redis) -> Producer:
    """``redis`` carries the log when the kind is `redis`."""
    if conf.kind == "kafka":
        from im_common.bus.kafka import KafkaProducer

        return KafkaProducer(brokers=conf.brokers, client_id=client_id)
    from im_common.bus.redis_streams import StreamsProducer

    return StreamsProducer(redis=redis)


def open_consumer(
    conf: BusConf, client_id: str, redis: Redis, *, topic: str, group: str, max_batch: int
) -> Consumer:
    if conf.kind == "kafka":
        from im_common.bus.kafka import KafkaConsumer

        return KafkaConsumer(
            brokers=conf.brokers,
            group=group,
            topics=[topic],
            client_id=client_id,
            max_batch=max_batch,
        )
    from im_common.bus.redis_streams import StreamsConsumer

    return StreamsConsumer(
        redis=redis, group=group, topics=[topic], client_id=client_id, max_batch=max_batch
    )


async def ensure_topics(conf: BusConf, redis: Redis, topics: Mapping[str, int]) -> None:
    """Makes the topics that are missing; tries until the log can be reached."""
    while True:
        try:
            if conf.kind == "kafka":
                from im_common.bus import kafka

                await kafka.ensure_topics(topics, brokers=conf.brokers)
            else:
                from im_common.bus import redis_streams

                await redis_streams.ensure_topics(topics, redis=redis)
        except BusUnavailable as error:
            log.warning("topics not made yet", error=str(error))
            await asyncio.sleep(ENSURE_AGAIN_S)
        else:
            return
