"""The message bus, the same behaviours on Redis Streams and on Kafka."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from im_common.bus import BusUnavailable, Finish, Producer, Record, dead_letter, pipeline
from im_common.bus.kafka import KafkaProducer
from im_common.bus.redis_streams import StreamsProducer
from im_common.testing.buses import Bus, StreamsBus, consuming, kafka_of_the_infra, started
from im_common.testing.services import free_port
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def streams_bus(valkey: ValkeyServer) -> AsyncIterator[StreamsBus]:
    bus = StreamsBus(valkey.conf.host, valkey)
    yield bus
    await bus.aclose()


@pytest.fixture(params=["redis", pytest.param("kafka", marks=pytest.mark.infra)])
def bus(request: pytest.FixtureRequest) -> Bus:
    """Each log in turn."""
    if request.param == "kafka":
        return kafka_of_the_infra()
    on_streams: StreamsBus = request.getfixturevalue("streams_bus")
    return on_streams


@pytest.fixture
async def topic(bus: Bus) -> str:
    """A new topic of three partitions."""
    name = f"t-{uuid4().hex}"
    await bus.ensure_topics({name: 3})
    return name


class Sink:
    """A handler that keeps what it was given, in order."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.values: list[bytes] = []

    async def __call__(self, batch: Sequence[Record]) -> None:
        self.batches.append(list(batch))
        self.values += [record.value for record in batch]


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


async def test_what_waits_arrives_in_batches_and_a_lone_record_at_once(
    bus: Bus, topic: str
) -> None:
    sink = Sink()
    async with started(bus.producer()) as producer:
        await asyncio.gather(*(producer.send(topic, b"k", b"%d" % n) for n in range(350)))
        async with consuming(bus.consumer([topic]), sink):
            await eventually(lambda: len(sink.values) == 350)
            assert max(map(len, sink.batches)) == 100
            before = time.monotonic()
            await producer.send(topic, b"k", b"alone")
            await eventually(lambda: sink.values[-1] == b"alone")
            assert time.monotonic() - before < 0.5


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
        for key in others:
            before = time.monotonic()
            await producer.send(topic, key, key)
            await eventually(lambda key=key: key in gate.begun.values)
            assert time.monotonic() - before < 1
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
        lingering = await linger(5, range(20, 40))
        await producer.send(topic, other, b"now")
        await asyncio.gather(*lingering)
        assert time.monotonic() - before < 3
        await eventually(lambda: len(gate.begun.values) == 82)
    records = [record for batch in gate.begun.batches for record in batch]
    for key in (first, second):
        assert [int(r.value) for r in records if r.key == key] == list(range(40))


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


async def test_a_stopped_consumer_is_replaced_without_waiting_for_its_lease(
    bus: Bus, topic: str
) -> None:
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
            assert time.monotonic() - before < 4


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
        *(sys.executable, "-m", "im_common.testing.buses", bus.kind, bus.address, topic),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
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


async def test_both_sides_go_on_after_an_outage(bus: Bus, topic: str) -> None:
    sink = Sink()
    sent: list[bytes] = []

    async def send_until_safe(value: bytes) -> None:
        while True:
            with suppress(BusUnavailable):
                await producer.send(topic, b"k", value)
                sent.append(value)
                return
            await asyncio.sleep(0.05)

    async with (
        started(bus.producer(timeout_ms=2_000)) as producer,
        consuming(bus.consumer([topic]), sink),
    ):
        for n in range(50):
            await send_until_safe(b"before %d" % n)
        async with bus.away():
            during = asyncio.create_task(send_until_safe(b"during"))
            await eventually(lambda: not producer.connected())
        await during
        for n in range(50):
            await send_until_safe(b"after %d" % n)
        await eventually(lambda: set(sent) <= set(sink.values), within_s=30)
    assert len(sent) == 101


async def test_a_producer_fails_in_time_when_the_server_goes_away(bus: Bus, topic: str) -> None:
    async with started(bus.producer(timeout_ms=1_500)) as producer:
        await producer.send(topic, b"k", b"v")
        assert producer.connected()
        await producer.ping()
        async with bus.away():
            before = time.monotonic()
            with pytest.raises(BusUnavailable):
                await producer.send(topic, b"k", b"v")
            assert time.monotonic() - before < 2.5
            with pytest.raises(BusUnavailable):
                await producer.enqueue(topic, b"k", b"v")
            with pytest.raises(BusUnavailable):
                await producer.ping()
        await eventually(producer.connected)
        await producer.send(topic, b"k", b"v")


async def test_a_full_buffer_makes_callers_wait_and_then_fail(bus: Bus, topic: str) -> None:
    async with started(bus.producer(timeout_ms=1_500, buffer_records=10)) as producer:
        await asyncio.gather(*(producer.send(topic, b"k", b"%d" % n) for n in range(200)))
        async with bus.away():
            results = await asyncio.gather(
                *(producer.enqueue(topic, b"k", b"v") for _ in range(30)), return_exceptions=True
            )
            refused = [result for result in results if isinstance(result, BusUnavailable)]
            assert len(refused) >= 20
            for result in results:
                if isinstance(result, asyncio.Future):
                    with pytest.raises(BusUnavailable):
                        await result


@pytest.mark.parametrize("kind", ["redis", "kafka"])
async def test_a_producer_starts_while_the_server_is_away(kind: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    bus = StreamsBus(address)
    producer = (
        StreamsProducer(redis=bus.redis)
        if kind == "redis"
        else KafkaProducer(brokers=[address], client_id="test")
    )
    async with started(producer):
        assert not producer.connected()
        with pytest.raises(BusUnavailable):
            await producer.enqueue("t", b"k", b"v")
        with pytest.raises(BusUnavailable):
            await producer.ping()


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


async def test_a_stream_holds_only_what_is_not_committed(streams_bus: StreamsBus) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 1})
    sink = Sink()
    async with started(streams_bus.producer()) as producer:
        await asyncio.gather(*(producer.send(name, b"k", b"%d" % n) for n in range(150)))
        key = f"bus:{{{name}:0}}"
        assert await streams_bus.redis.xlen(key) == 150
        async with consuming(streams_bus.consumer([name]), sink):
            await eventually(lambda: len(sink.values) == 150)
        assert await streams_bus.redis.xlen(key) == 0
        assert await streams_bus.redis.exists(f"{key}:owner") == 0


async def test_a_stream_that_nobody_empties_takes_no_more(streams_bus: StreamsBus) -> None:
    name = f"t-{uuid4().hex}"
    await streams_bus.ensure_topics({name: 1})
    async with started(StreamsProducer(redis=streams_bus.redis, max_backlog=5)) as producer:
        for _ in range(5):
            await producer.send(name, b"k", b"v")
        with pytest.raises(BusUnavailable, match="too many"):
            await producer.send(name, b"k", b"v")
