"""Looking at what a topic on Redis Streams holds: what is not committed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from redis.asyncio import Redis

from im_common.bus.interface import BusUnavailable, Lag, Record, Volume
from im_common.bus.streams.layout import OUTAGE, counts_key, partitions_key, stream_key
from im_common.bus.streams.records import read_entry
from im_common.runtime.backoff import describe

_PAGE = 20


async def browse(redis: Redis, topic: str) -> AsyncGenerator[Record, None]:
    """As ``Bus.browse`` has it."""
    try:
        # What nobody has made yet stays so: the first to say how many partitions decides.
        for partition in range(int(await redis.get(partitions_key(topic)) or 0)):
            async for record in _read(redis, topic, partition):
                yield record
    except OUTAGE as error:
        raise BusUnavailable(f"no answer from Redis: {describe(error)}") from error


async def lag(redis: Redis, topic: str) -> list[Lag]:
    """As ``Bus.lag`` has it."""
    try:
        count = int(await redis.get(partitions_key(topic)) or 0)
        return [Lag(n, (await _count(redis, topic, n)).records) for n in range(count)]
    except OUTAGE as error:
        raise BusUnavailable(f"no answer from Redis: {describe(error)}") from error


async def volume(redis: Redis, topic: str) -> Volume:
    """As ``Bus.volume`` has it."""
    records = written = 0
    try:
        for partition in range(int(await redis.get(partitions_key(topic)) or 0)):
            of_one = await _count(redis, topic, partition)
            records += of_one.records
            written += of_one.written
    except OUTAGE as error:
        raise BusUnavailable(f"no answer from Redis: {describe(error)}") from error
    return Volume(records, written)


async def _count(redis: Redis, topic: str, partition: int) -> Volume:
    counts: Any = await redis.hmget(counts_key(topic, partition), ["written", "done"])
    if counts[0] is not None:
        return Volume(int(counts[0]) - int(counts[1]), int(counts[0]))
    key = stream_key(topic, partition)
    if not await redis.exists(key):
        return Volume(0, 0)
    # Nothing was written to it since a version that had a record in each entry.
    found: Any = await redis.xinfo_stream(key)
    return Volume(int(found["length"]), int(found["entries-added"]))


async def _read(redis: Redis, topic: str, partition: int) -> AsyncGenerator[Record, None]:
    key, start = stream_key(topic, partition), "-"
    newest: Any = await redis.xrevrange(key, count=1)
    end = newest[0][0].decode() if newest else "-"
    while True:
        entries: Any = await redis.xrange(key, start, end, count=_PAGE)
        if not entries:
            return
        for entry_id, fields in entries:
            flat = [part for pair in fields.items() for part in pair]
            for record in read_entry(topic, partition, entry_id, flat):
                yield record
        start = f"({entries[-1][0].decode()}"
