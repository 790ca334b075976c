"""Looking at what a topic on Kafka holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from im_common.bus.interface import BusUnavailable, Lag, Record, Volume
from im_common.bus.kafka.client import Access, Client, discard_consumer, new_consumer
from im_common.bus.kafka.records import read_record
from im_common.bus.kafka.topics import partitions_of
from im_common.runtime.backoff import describe

_PAGE = 200
# Records that are there and do not come within it will not come.
_PAGE_TIMEOUT_MS = 10_000


async def browse(access: Access, topic: str) -> AsyncGenerator[Record, None]:
    """As ``Bus.browse`` has it."""
    partitions = await _partitions(access, topic)
    if not partitions:
        return
    async with _reader(access, partitions) as consumer:
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            async for record in _read(consumer, partition, ends[partition]):
                yield record


async def lag(access: Access, topic: str, group: str) -> list[Lag]:
    """As ``Bus.lag`` has it."""
    partitions = await _partitions(access, topic)
    if not partitions:
        return []
    async with _reader(access, partitions, group=group) as consumer:
        ends = await consumer.end_offsets(partitions)
        # Where a group begins that has committed nothing, or whose place was deleted.
        begins = await consumer.beginning_offsets(partitions)
        found = []
        for partition in partitions:
            # The client for administration would take a coordinator's refusal for nothing committed
            # (findings/aiokafka-takes-a-coordinators-refusal-for-no-committed-offsets.sh).
            committed = await consumer.committed(partition)
            done = max(begins[partition], committed or 0)
            found.append(Lag(partition.partition, max(0, ends[partition] - done)))
        return found


async def volume(access: Access, topic: str) -> Volume:
    """As ``Bus.volume`` has it."""
    partitions = await _partitions(access, topic)
    if not partitions:
        return Volume(0, 0)
    async with _reader(access, partitions) as consumer:
        written = sum((await consumer.end_offsets(partitions)).values())
        gone = sum((await consumer.beginning_offsets(partitions)).values())
        return Volume(written - gone, written)


async def _partitions(access: Access, topic: str) -> list[Any]:
    return [TopicPartition(topic, number) for number in await partitions_of(topic, access)]


@asynccontextmanager
async def _reader(
    access: Access, partitions: list[Any], *, group: str | None = None
) -> AsyncIterator[Client]:
    """A consumer that commits nothing. With a ``group`` it sees that group's offsets; it is no member
    of it."""
    consumer = new_consumer(
        **access.arguments(),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        consumer.assign(partitions)
        await consumer.start()
        yield consumer
    except (KafkaError, OSError) as error:
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
