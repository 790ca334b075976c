"""A producer whose log breaks at the worst moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from im_common.bus.batching import BatchingProducer, Outgoing
from im_common.bus.interface import BusUnavailable
from im_common.testing.waiting import eventually


class Breaking(BatchingProducer):
    """Two partitions; the key is the partition. A write to the first one waits for ``broken``, when
    there is one, and fails."""

    broken: asyncio.Future[None] | None = None

    async def _open(self) -> None:
        pass

    async def _shut(self) -> None:
        pass

    async def _count_partitions(self, topic: str) -> int:
        return 2

    def _partition_of(self, key: bytes, count: int) -> int:
        return int(key)

    async def _write(self, topic: str, partition: int, batch: list[Outgoing]) -> None:
        if self.broken is not None and partition == 0:
            await self.broken
            raise ConnectionError("gone")

    async def ping(self) -> None:
        pass


async def test_a_lane_that_had_not_begun_when_the_link_broke_works_again() -> None:
    producer = Breaking(timeout_ms=1_000, buffer_records=100)
    await producer.start()
    for key in (b"0", b"1"):
        await producer.send("t", key, b"")
    producer.broken = asyncio.get_running_loop().create_future()
    first = await producer.enqueue("t", b"0", b"x")
    await asyncio.sleep(0)
    # The first lane is woken by this before the task of the second one takes its first step.
    producer.broken.set_result(None)
    second = await producer.enqueue("t", b"1", b"x")
    for future in (first, second):
        with suppress(BusUnavailable):
            await future
    producer.broken = None
    await eventually(producer.connected)
    async with asyncio.timeout(10):
        for key in (b"0", b"1"):
            await producer.send("t", key, b"y")
    await producer.close()
