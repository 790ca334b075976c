"""Which records a batch is made of, and what it waits for, on Redis Streams and on Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from im_common.bus import Producer, Record, pipeline
from im_common.testing.buses import Bus, Sink, consuming, started
from im_common.testing.waiting import eventually

LONG_S = 20.0


class Gate:
    """A handler that holds up the batches with records of some keys until it is opened."""

    def __init__(self) -> None:
        self.begun = Sink()
        self.held: set[bytes] = set()
        self.open = asyncio.Event()

    async def __call__(self, batch: Sequence[Record]) -> None:
        await self.begun(batch)
        if self.held & {record.key for record in batch}:
            await self.open.wait()

    async def keys(self, producer: Producer, topic: str) -> list[bytes]:
        """One of each partition; all three are worked by then."""
        for n in range(12):
            await producer.send(topic, b"k%d" % n, b"")
        await eventually(lambda: len(self.begun.values) == 12)
        keys = {record.partition: record.key for batch in self.begun.batches for record in batch}
        self.begun = Sink()
        return [keys[partition] for partition in range(3)]


async def test_what_waits_arrives_in_batches_and_a_lone_record_at_once(
    bus: Bus, topic: str
) -> None:
    sink = Sink()
    async with started(bus.producer()) as producer:
        await asyncio.gather(*(producer.send(topic, b"k", b"%d" % n) for n in range(350)))
        async with consuming(bus.consumer([topic]), sink):
            await eventually(lambda: len(sink.values) == 350)
            assert max(map(len, sink.batches)) == 100
            times = list[float]()
            for value in (b"1st alone", b"2nd alone", b"3rd alone", b"4th alone"):
                before = time.monotonic()
                await producer.send(topic, b"k", value)
                await eventually(lambda value=value: sink.values[-1] == value)
                times.append(time.monotonic() - before)
            # What else the machine does only ever adds to a time.
            assert min(times) < 0.5


async def test_little_of_all_partitions_waits_for_one_batch(
    bus: Bus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_TURN_S", 60.0)
    gate = Gate()
    async with (
        started(bus.producer()) as producer,
        consuming(bus.consumer([topic]), gate) as consumer,
    ):
        keys = await gate.keys(producer, topic)
        await eventually(lambda: consumer.lag() == 0)
        gate.held = {keys[0]}
        await producer.send(topic, keys[0], b"held")
        await eventually(lambda: gate.begun.values == [b"held"])
        sending = [(key, b"%d" % n) for n in range(4) for key in keys]
        for key, value in sending:
            await producer.send(topic, key, value)
        # By then they have been read, too.
        await eventually(lambda: consumer.lag() == 1 + len(sending), within_s=20)
        assert gate.begun.values == [b"held"]
        gate.open.set()
        await eventually(lambda: len(gate.begun.values) == 1 + len(sending))
    _, batch = gate.begun.batches
    for key in keys:
        values = [record.value for record in batch if record.key == key]
        assert values == [b"0", b"1", b"2", b"3"]


async def test_a_batch_that_is_held_up_does_not_hold_up_other_partitions(
    bus: Bus, topic: str
) -> None:
    gate = Gate()
    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), gate):
        held, *others = await gate.keys(producer, topic)
        gate.held = {held}
        await producer.send(topic, held, b"held")
        await eventually(lambda: gate.begun.values == [b"held"])
        await producer.send(topic, held, b"behind it")
        times = list[float]()
        for n in range(2):
            for key in others:
                value = b"%d of " % n + key
                before = time.monotonic()
                await producer.send(topic, key, value)
                await eventually(lambda value=value: value in gate.begun.values)
                times.append(time.monotonic() - before)
        # What else the machine does only ever adds to a time.
        assert min(times) < 1
        assert b"behind it" not in gate.begun.values
        gate.open.set()
        await eventually(lambda: b"behind it" in gate.begun.values)


async def test_a_partition_with_many_records_is_worked_beside_the_others(
    bus: Bus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing but their number brings them on.
    monkeypatch.setattr(pipeline, "_TURN_S", 60.0)
    gate = Gate()
    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), gate):
        held, full, _ = await gate.keys(producer, topic)
        gate.held = {held}
        await producer.send(topic, held, b"held")
        await eventually(lambda: gate.begun.values == [b"held"])
        await asyncio.gather(*(producer.send(topic, full, b"%d" % n) for n in range(200)))
        await eventually(lambda: len(gate.begun.values) > 1)
        assert {record.key for record in gate.begun.batches[1]} == {full}
        assert len(gate.begun.batches[1]) >= 50
        gate.open.set()
        await eventually(lambda: len(gate.begun.values) == 201)
    assert gate.begun.values == [b"held", *(b"%d" % n for n in range(200))]


async def test_records_linger_for_one_another_and_keep_their_order(bus: Bus, topic: str) -> None:
    gate = Gate()
    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), gate):
        first, second, other = await gate.keys(producer, topic)

        async def linger(seconds: float, numbers: range) -> list[asyncio.Future[None]]:
            return [
                await producer.enqueue(topic, key, b"%d" % n, linger_s=seconds)
                for n in numbers
                for key in (first, second)
            ]

        before = time.monotonic()
        await producer.send(topic, other, b"before")
        await asyncio.gather(*await linger(0.3, range(20)))
        assert time.monotonic() - before >= 0.3
        # What does not linger takes with it all that waits.
        before = time.monotonic()
        lingering = await linger(LONG_S, range(20, 40))
        await producer.send(topic, other, b"now")
        await asyncio.gather(*lingering)
        assert time.monotonic() - before < LONG_S / 2
        await eventually(lambda: len(gate.begun.values) == 82)
    records = [record for batch in gate.begun.batches for record in batch]
    for key in (first, second):
        assert [int(r.value) for r in records if r.key == key] == list(range(40))
