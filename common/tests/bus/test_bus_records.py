"""What becomes of a record: its order, content and topic, on Redis Streams and on Kafka."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from im_common.bus import BusUnavailable, Record, Volume, dead_letter
from im_common.bus.streams.producer import StreamsProducer
from im_common.testing.buses import Bus, Sink, consuming, started
from im_common.testing.waiting import eventually


async def test_records_of_a_key_arrive_in_the_order_of_the_calls(bus: Bus, topic: str) -> None:
    by_key: dict[bytes, list[int]] = defaultdict(list)
    count = 0

    async def handler(batch: Sequence[Record]) -> None:
        nonlocal count
        for record in batch:
            by_key[record.key].append(int(record.value))
            count += 1

    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), handler):
        sent = [await producer.enqueue(topic, b"k%d" % (n % 7), b"%d" % n) for n in range(2_000)]
        await asyncio.gather(*sent)
        await eventually(lambda: count >= 2_000)
    assert by_key == {b"k%d" % k: list(range(k, 2_000, 7)) for k in range(7)}


async def test_headers_and_empty_values_survive(bus: Bus, topic: str) -> None:
    sink = Sink()
    async with started(bus.producer()) as producer, consuming(bus.consumer([topic]), sink):
        await producer.send(topic, b"\x00\xff", b"", {"trace": b"\x01\x02", "empty": b""})
        await eventually(lambda: bool(sink.values))
    record = sink.batches[0][0]
    assert (record.topic, record.key, record.value) == (topic, b"\x00\xff", b"")
    assert dict(record.headers) == {"trace": b"\x01\x02", "empty": b""}


async def test_looking_at_a_topic_takes_nothing_away(bus: Bus, topic: str) -> None:
    async with started(bus.producer()) as producer:
        sent = [producer.send(topic, b"k%d" % (n % 5), b"%d" % n, {"h": b"x"}) for n in range(450)]
        await asyncio.gather(*sent)
        for _ in range(2):
            records = [record async for record in bus.browse(topic)]
            assert sorted(int(record.value) for record in records) == list(range(450))
            assert {record.key: dict(record.headers) for record in records} == {
                b"k%d" % k: {"h": b"x"} for k in range(5)
            }


async def test_a_topic_says_how_much_is_in_it_and_was_ever_written(bus: Bus, topic: str) -> None:
    sink = Sink()
    async with started(bus.producer()) as producer:
        await asyncio.gather(*(producer.send(topic, b"k%d" % n, b"first") for n in range(30)))
        assert await bus.volume(topic) == Volume(records=30, written=30)
        async with consuming(bus.consumer([topic]), sink):
            await eventually(lambda: len(sink.values) == 30)
        await producer.send(topic, b"k", b"second")
        assert (await bus.volume(topic)).written == 31
    assert await bus.volume(f"t-{uuid4().hex}") == Volume(0, 0)


async def test_what_a_group_has_left_is_counted_while_nobody_consumes(bus: Bus, topic: str) -> None:
    sink = Sink()
    async with started(bus.producer()) as producer:
        await asyncio.gather(*(producer.send(topic, b"k%d" % n, b"first") for n in range(30)))
        left = await bus.lag(topic)
        assert (set(left), sum(left.values())) == ({0, 1, 2}, 30)
        async with consuming(bus.consumer([topic]), sink):
            await eventually(lambda: len(sink.values) == 30)
        assert await bus.lag(topic) == {0: 0, 1: 0, 2: 0}
        await producer.send(topic, b"k", b"second")
        await producer.send(topic, b"k", b"third")
        assert sorted((await bus.lag(topic)).values()) == [0, 0, 2]
    assert await bus.lag(f"t-{uuid4().hex}") == {}


async def test_looking_at_a_topic_that_is_not_there_does_not_make_it(bus: Bus) -> None:
    name = f"t-{uuid4().hex}"
    assert [record async for record in bus.browse(name)] == []
    with capture_logs() as logs:
        await bus.ensure_topics({name: 3})
        await bus.ensure_topics({name: 3})
    assert "bus.fewer_partitions" not in [entry["event"] for entry in logs]


async def test_a_record_too_large_is_the_callers_fault(bus: Bus, topic: str) -> None:
    async with started(bus.producer()) as producer:
        with pytest.raises(ValueError, match="at most"):
            await producer.enqueue(topic, b"k", b"v" * 1_000_000)
        await producer.send(topic, b"k", b"v" * 800_000)


async def test_a_dead_letter_is_the_record_and_why(bus: Bus, topic: str) -> None:
    dlq = f"{topic}-dlq"
    await bus.ensure_topics({dlq: 1})
    sink = Sink()
    async with started(bus.producer()) as producer:

        async def reject(batch: Sequence[Record]) -> None:
            for record in batch:
                await dead_letter(producer, dlq, record, "no JSON: ü")

        async with consuming(bus.consumer([topic]), reject), consuming(bus.consumer([dlq]), sink):
            await producer.send(topic, b"k", b"{", {"trace": b"1"})
            await eventually(lambda: bool(sink.values))
    record = sink.batches[0][0]
    headers = dict(record.headers)
    assert (record.key, record.value, headers.pop("trace")) == (b"k", b"{", b"1")
    assert abs(int(headers.pop("dlq-at")) / 1000 - time.time()) < 60
    assert headers.pop("dlq-partition") in (b"0", b"1", b"2")
    assert headers.pop("dlq-position")
    assert headers == {"dlq-reason": "no JSON: ü".encode(), "dlq-topic": topic.encode()}


async def test_topics_may_be_made_twice_at_once_and_never_grow(bus: Bus) -> None:
    name = f"t-{uuid4().hex}"
    await asyncio.gather(*(bus.ensure_topics({name: 2}) for _ in range(3)))
    with capture_logs() as logs:
        await bus.ensure_topics({name: 5})
    assert [(e["found"], e["wanted"]) for e in logs if e["event"] == "bus.fewer_partitions"] == [
        (2, 5)
    ]


async def test_lag_counts_what_is_not_committed(bus: Bus, topic: str) -> None:
    gate = asyncio.Event()

    async def held(batch: Sequence[Record]) -> None:
        await gate.wait()

    async with (
        started(bus.producer()) as producer,
        consuming(bus.consumer([topic]), held) as consumer,
    ):
        await asyncio.gather(*(producer.send(topic, b"%d" % n, b"v") for n in range(40)))
        await eventually(lambda: consumer.lag() == 40)
        gate.set()
        await eventually(lambda: consumer.lag() == 0)


async def test_a_stream_holds_only_what_is_not_committed(streams_bus: Bus) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 1})
    sink = Sink()
    async with started(streams_bus.producer()) as producer:
        await asyncio.gather(*(producer.send(name, b"k", b"%d" % n) for n in range(150)))
        key = f"bus:{{{name}:0}}"
        assert await streams_bus.redis().xlen(key) > 0
        async with consuming(streams_bus.consumer([name]), sink):
            await eventually(lambda: len(sink.values) == 150)
        assert await streams_bus.redis().xlen(key) == 0
        assert await streams_bus.redis().exists(f"{key}:owner") == 0


async def test_who_stops_within_an_entry_leaves_the_rest_of_it_to_the_next(
    streams_bus: Bus,
) -> None:
    name, second, gate = f"t-{uuid4().hex}", asyncio.Event(), asyncio.Event()
    await streams_bus.ensure_topics({name: 1})
    first_values: list[bytes] = []

    async def held_up(batch: Sequence[Record]) -> None:
        if first_values:
            second.set()
            await gate.wait()
        first_values.extend(record.value for record in batch)

    async with started(streams_bus.producer()) as producer:
        await asyncio.gather(*(producer.send(name, b"k", b"%d" % n) for n in range(250)))
        async with consuming(streams_bus.consumer([name]), held_up) as consumer:
            await second.wait()
            stopping = asyncio.create_task(consumer.stop())
            # Once it is no member any more it begins nothing more.
            members = f"bus:{{{name}}}:members"
            await eventually(lambda: _is_gone(streams_bus.redis(), members))
            gate.set()
            await stopping
    assert first_values == [b"%d" % n for n in range(200)]
    # Three entries of 64 are gone.
    assert await streams_bus.volume(name) == Volume(250 - 192, 250)
    sink = Sink()
    async with consuming(streams_bus.consumer([name]), sink):
        await eventually(lambda: b"249" in sink.values)
    assert sink.values == [b"%d" % n for n in range(192, 250)]
    assert await streams_bus.volume(name) == Volume(0, 250)


async def _is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def test_positions_rise_within_an_entry_at_one_moment_and_when_the_clock_was_set_back(
    streams_bus: Bus,
) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 1})
    tomorrow_ms = int(time.time() * 1000) + 86_400_000
    sink = Sink()
    async with started(streams_bus.producer()) as producer:
        # Some of these calls are in one millisecond.
        for of_a_call in (1, 10) * 100:
            await asyncio.gather(*(producer.send(name, b"k", b"v") for _ in range(of_a_call)))
        await asyncio.gather(*(producer.send(name, b"k", b"v") for _ in range(200)))
        # As an earlier version wrote it, of a clock that was ahead.
        await streams_bus.redis().xadd(
            f"bus:{{{name}:0}}", {b"k": b"k", b"v": b"of before"}, id=f"{tomorrow_ms}-7"
        )
        await asyncio.gather(*(producer.send(name, b"k", b"v") for _ in range(100)))
        async with consuming(streams_bus.consumer([name]), sink):
            await eventually(lambda: len(sink.values) == 1401)
    records = [record for batch in sink.batches for record in batch]
    places = [tuple(map(int, record.position.split("-"))) for record in records]
    assert places == sorted(set(places))
    assert (records[1300].value, places[1300]) == (b"of before", (tomorrow_ms, 7))
    assert await streams_bus.redis().xlen(f"bus:{{{name}:0}}") == 0


async def test_what_an_earlier_version_wrote_a_record_to_an_entry_is_read_and_counted(
    streams_bus: Bus,
) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 1})
    for n in range(5):
        await streams_bus.redis().xadd(f"bus:{{{name}:0}}", {b"k": b"k", b"v": b"%d" % n})
    assert await streams_bus.volume(name) == Volume(5, 5)
    browsed = [record.value async for record in streams_bus.browse(name)]
    assert browsed == [b"%d" % n for n in range(5)]
    sink = Sink()
    async with started(streams_bus.producer()) as producer:
        await asyncio.gather(*(producer.send(name, b"k", b"%d" % n) for n in range(5, 12)))
        assert await streams_bus.volume(name) == Volume(12, 12)
        assert await streams_bus.lag(name) == {0: 12}
        async with consuming(streams_bus.consumer([name]), sink):
            await eventually(lambda: len(sink.values) == 12)
    assert sink.values == [b"%d" % n for n in range(12)]
    assert await streams_bus.volume(name) == Volume(0, 12)


async def test_a_stream_that_nobody_empties_takes_no_more(streams_bus: Bus) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 1})
    async with started(StreamsProducer(redis=streams_bus.redis(), max_backlog=5)) as producer:
        for _ in range(5):
            await producer.send(name, b"k", b"v")
        with pytest.raises(BusUnavailable, match="too many"):
            await producer.send(name, b"k", b"v")
        # Other streams are not full, and lose nothing by it.
        assert producer.connected()
