"""Looking at what a topic holds without being one of its consumers: for operators' commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from redis.asyncio import Redis

from im_common.bus.interface import Record
from im_common.runtime.config import BusConf

_PAGE = 200


async def browse(conf: BusConf, redis: Redis, topic: str) -> AsyncIterator[Record]:
    """The records that are there now, partition by partition, oldest first. Nothing is committed or
    taken away. ``redis`` carries the log when the kind is `redis`.

    Raises what the log's client raises when it is away.
    """
    records = _kafka(conf.brokers, topic) if conf.kind == "kafka" else _streams(redis, topic)
    async with aclosing(records):
        async for record in records:
            yield record


async def _streams(redis: Redis, topic: str) -> AsyncGenerator[Record, None]:
    from im_common.bus.streams_consumer import read_entry
    from im_common.bus.streams_log import partition_count, stream_key

    for partition in range(await partition_count(redis, topic, 1)):
        key, start = stream_key(topic, partition), "-"
        newest: Any = await redis.xrevrange(key, count=1)
        end = newest[0][0].decode() if newest else "-"
        while True:
            entries: Any = await redis.xrange(key, start, end, count=_PAGE)
            if not entries:
                break
            for entry_id, fields in entries:
                flat = [part for pair in fields.items() for part in pair]
                yield read_entry(topic, partition, entry_id, flat)
            start = f"({entries[-1][0].decode()}"


async def _kafka(brokers: Sequence[str], topic: str) -> AsyncGenerator[Record, None]:
    from im_common.bus.kafka_client import discard_consumer, new_consumer, shuffled

    # Without a group it has all partitions and commits nothing.
    consumer = new_consumer(
        topic,
        bootstrap_servers=shuffled(brokers),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        for partition in ends:
            await consumer.seek_to_beginning(partition)
        for partition, end in sorted(ends.items()):
            while await consumer.position(partition) < end:
                found = await consumer.getmany(partition, timeout_ms=1000, max_records=_PAGE)
                for message in found.get(partition, ()):
                    if message.offset < end:
                        yield _kafka_record(message)
    finally:
        await discard_consumer(consumer)


def _kafka_record(message: Any) -> Record:
    return Record(
        message.topic,
        message.partition,
        str(message.offset),
        message.key or b"",
        message.value or b"",
        dict(message.headers),
    )
