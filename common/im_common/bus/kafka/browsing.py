"""Looking at what a topic on Kafka holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from im_common.bus.interface import BusUnavailable, Record
from im_common.bus.kafka.client import Access, Client, discard_consumer, new_consumer
from im_common.bus.kafka.records import read_record
from im_common.bus.kafka.topics import partitions_of
from im_common.runtime.backoff import describe

_PAGE = 200
# Records that are there and do not come within it will not come.
_PAGE_TIMEOUT_MS = 10_000


async def browse(access: Access, topic: str) -> AsyncGenerator[Record, None]:
    """As ``Bus.browse`` has it."""
    numbers = await partitions_of(topic, access)
    if not numbers:
        return
    # Without a group it commits nothing.
    consumer = new_consumer(
        **access.arguments(),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    partitions = [TopicPartition(topic, number) for number in numbers]
    try:
        consumer.assign(partitions)
        await consumer.start()
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            async for record in _read(consumer, partition, ends[partition]):
                yield record
    except KafkaError as error:
        raise BusUnavailable(f"no answer from Kafka: {describe(error)}") from error
    finally:
        await discard_consumer(consumer)


async def _read(consumer: Client, partition: Any, end: int) -> AsyncGenerator[Record, None]:
    await consumer.seek_to_beginning(partition)
    while (place := await consumer.position(partition)) < end:
        found = await consumer.getmany(partition, timeout_ms=_PAGE_TIMEOUT_MS, max_records=_PAGE)
        for message in found.get(partition, ()):
            if message.offset < end:
                yield read_record(message)
        if not found and await consumer.position(partition) == place:
            raise BusUnavailable(f"nothing comes of {partition.topic} {partition.partition}")
