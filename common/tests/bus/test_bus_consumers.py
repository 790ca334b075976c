"""Consumers that fail, leave, are killed or share the work, on Redis Streams and on Kafka."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from uuid import uuid4

import pytest

from im_common.bus import Finish, Record
from im_common.bus.streams import layout
from im_common.testing.buses import Bus, Sink, consuming, started
from im_common.testing.waiting import eventually
from im_local.last_will import ends_with_us

# A lease, and a session with Kafka, last longer.
AT_ONCE_S = 4.0


async def test_a_batch_that_was_not_finished_comes_again(bus: Bus, topic: str) -> None:
    begun = asyncio.Event()

    async def never_finish(batch: Sequence[Record]) -> Finish:
        async def deliver() -> None:
            begun.set()
            await asyncio.Event().wait()

        return deliver

    sink = Sink()
    async with started(bus.producer()) as producer:
        await producer.send(topic, b"k", b"again")
        async with consuming(bus.consumer([topic]), never_finish) as consumer:
            await asyncio.wait_for(begun.wait(), 20)
            before = time.monotonic()
            await consumer.stop()
            assert time.monotonic() - before < 9
        async with consuming(bus.consumer([topic]), sink):
            await eventually(lambda: sink.values == [b"again"])


async def test_a_finished_batch_never_comes_again(bus: Bus, topic: str) -> None:
    first, second = Sink(), Sink()
    async with started(bus.producer()) as producer:
        await producer.send(topic, b"k", b"1")
        async with consuming(bus.consumer([topic]), first):
            await eventually(lambda: first.values == [b"1"])
        await producer.send(topic, b"k", b"2")
        async with consuming(bus.consumer([topic]), second):
            await eventually(lambda: bool(second.values))
    assert second.values == [b"2"]


async def test_a_stopped_consumer_is_replaced_without_waiting_for_its_lease(bus: Bus) -> None:
    times = list[float]()
    while not times or (times[-1] >= AT_ONCE_S and len(times) < 3):
        topic = f"t-{uuid4().hex}"
        await bus.ensure_topics({topic: 3})
        times.append(await _replaced_after_s(bus, topic))
    # What else the machine does only ever adds to a time.
    assert min(times) < AT_ONCE_S


async def _replaced_after_s(bus: Bus, topic: str) -> float:
    first, second = Sink(), Sink()
    async with (
        started(bus.producer()) as producer,
        consuming(bus.consumer([topic]), first) as leaving,
    ):
        await producer.send(topic, b"k", b"1")
        await eventually(lambda: first.values == [b"1"])
        async with consuming(bus.consumer([topic]), second) as staying:
            await eventually(staying.ready)
            await leaving.stop()
            before = time.monotonic()
            for n in range(30):
                await producer.send(topic, b"k%d" % n, b"%d" % n)
            await eventually(lambda: len(first.values) + len(second.values) >= 31)
            return time.monotonic() - before


async def test_partitions_move_under_load_without_loss_or_disorder(bus: Bus, topic: str) -> None:
    seen: dict[bytes, list[int]] = defaultdict(list)

    async def handler(batch: Sequence[Record]) -> None:
        for record in batch:
            number = int(record.value)
            if number not in seen[record.key]:
                seen[record.key].append(number)

    async def send_all() -> None:
        for n in range(300):
            sending = (producer.enqueue(topic, b"k%d" % k, b"%d" % n) for k in range(9))
            await asyncio.gather(*await asyncio.gather(*sending))
            await asyncio.sleep(0.01)

    async with (
        started(bus.producer()) as producer,
        consuming(bus.consumer([topic]), handler),
        asyncio.TaskGroup() as group,
    ):
        sending = group.create_task(send_all())
        while not sending.done():
            async with consuming(bus.consumer([topic]), handler) as other:
                await eventually(other.ready)
                await asyncio.sleep(0.5)
        await eventually(lambda: sum(map(len, seen.values())) == 9 * 300)
    assert all(numbers == list(range(300)) for numbers in seen.values())


@pytest.mark.parametrize("error", [RuntimeError("not yet"), asyncio.CancelledError()])
async def test_a_stage_that_fails_twice_is_repeated_in_order(
    bus: Bus, topic: str, error: BaseException
) -> None:
    stored, delivered = Sink(), Sink()
    failures = {"store": 2, "deliver": 2}

    def fail_twice(stage: str) -> None:
        if failures[stage]:
            failures[stage] -= 1
            raise error

    async def handler(batch: Sequence[Record]) -> Finish:
        fail_twice("store")
        await stored(batch)

        async def deliver() -> None:
            fail_twice("deliver")
            await delivered(batch)

        return deliver

    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), handler):
        for n in range(250):
            await producer.enqueue(topic, b"k", b"%d" % n)
        await eventually(lambda: len(delivered.values) >= 250)
    assert stored.values == delivered.values == [b"%d" % n for n in range(250)]


async def test_the_next_batch_is_stored_while_one_is_delivered_and_no_further(
    bus: Bus, topic: str
) -> None:
    events: list[str] = []
    gate = asyncio.Event()

    async def handler(batch: Sequence[Record]) -> Finish:
        name = batch[0].value.decode()
        events.append(f"store {name}")

        async def deliver() -> None:
            events.append(f"deliver {name}")
            await gate.wait()
            events.append(f"delivered {name}")

        return deliver

    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), handler):
        for name in "abc":
            await producer.send(topic, b"k", name.encode())
            # Each its own batch: the next is sent when this one has been taken, or cannot be yet.
            with suppress(AssertionError):
                await eventually(
                    partial(events.__contains__, f"store {name}"), within_s=20 if name < "c" else 1
                )
        assert events == ["store a", "deliver a", "store b"]
        gate.set()
        await eventually(lambda: "delivered c" in events)
    assert [e for e in events if "deliver" in e] == [
        *("deliver a", "delivered a", "deliver b", "delivered b", "deliver c", "delivered c")
    ]


async def test_two_consumers_share_and_one_that_is_killed_is_replaced(bus: Bus, topic: str) -> None:
    sink = Sink()
    victim = await asyncio.create_subprocess_exec(
        *bus.victim(topic),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    ends_with_us(victim.pid)
    assert victim.stdout is not None
    try:
        async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), sink):
            sent: set[bytes] = set()

            async def taken_by_the_victim() -> bytes:
                assert victim.stdout is not None
                return (await victim.stdout.readline()).strip()

            first = asyncio.create_task(taken_by_the_victim())
            # Both take part once both have got something from the same stretch of records.
            async with asyncio.timeout(30):
                while not (first.done() and sink.values):
                    sent.add(value := uuid4().hex.encode())
                    await producer.send(topic, value, value)
                    await asyncio.sleep(0.01)
            victim.kill()
            assert first.result() not in sink.values
            await eventually(lambda: sent <= set(sink.values), within_s=20)
    finally:
        with suppress(ProcessLookupError):
            victim.kill()
        await victim.wait()


async def test_a_consumer_takes_its_share_and_leaves_the_rest_to_the_others(
    streams_bus: Bus,
) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 5})
    redis = streams_bus.redis()
    # Another member, which has not taken anything yet.
    other = {f"g-{name}/other/1": (time.time() + 60) * 1000}
    await redis.zadd(layout.members_key(name), other)
    async with consuming(streams_bus.consumer([name]), Sink()) as consumer:
        await eventually(consumer.ready)
        owned = [await redis.exists(layout.owner_key(name, n)) for n in range(5)]
    assert sum(owned) in (2, 3)


async def test_who_has_lost_a_partition_commits_nothing_of_it(streams_bus: Bus) -> None:
    name, begun, gate = f"t-{uuid4().hex}", asyncio.Event(), asyncio.Event()
    await streams_bus.ensure_topics({name: 1})
    redis = streams_bus.redis()

    async def held_up(_: Sequence[Record]) -> None:
        begun.set()
        await gate.wait()

    async with (
        started(streams_bus.producer()) as producer,
        consuming(streams_bus.consumer([name]), held_up) as consumer,
    ):
        await producer.send(name, b"k", b"1")
        await asyncio.wait_for(begun.wait(), 20)
        # Its lease ran out while it stood still, and another has the partition.
        await redis.set(layout.owner_key(name, 0), b"g/another/1", px=60_000)
        gate.set()
        await consumer.stop()
        assert await redis.xlen(layout.stream_key(name, 0)) == 1
        assert await redis.get(layout.owner_key(name, 0)) == b"g/another/1"
