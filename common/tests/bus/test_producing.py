"""What a producer's buffer does while the log beneath is slow, refuses, breaks or is silent: of both
logs the same, and here on one that does as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable

import pytest

from im_common.bus import BusUnavailable, batching
from im_common.bus.batching import BatchingProducer, Outgoing
from im_common.testing.waiting import eventually


class Told(BatchingProducer):
    """Two partitions; the first byte of the key is the partition."""

    def __init__(self, timeout_ms: int = 5_000) -> None:
        super().__init__(timeout_ms=timeout_ms, buffer_records=100)
        self.opened = self.counted = 0
        # The values of each batch, as it is begun.
        self.written: list[list[bytes]] = []
        # Writes wait for it; then those of a partition fail so.
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.errors: dict[int, Exception] = {}
        self.unknown: Exception | None = None
        self.may_count = asyncio.Event()
        self.may_count.set()

    async def _open(self) -> None:
        self.opened += 1

    async def _shut(self) -> None:
        pass

    async def _count_partitions(self, topic: str) -> int:
        self.counted += 1
        await self.may_count.wait()
        if self.unknown is not None and topic == "unknown":
            raise self.unknown
        return 2

    def _partition_of(self, key: bytes, count: int) -> int:
        return int(key[:1])

    async def _write(self, topic: str, partition: int, batch: list[Outgoing]) -> None:
        self.written.append([outgoing.value for outgoing in batch])
        await self.may_end.wait()
        if partition in self.errors:
            raise self.errors[partition]

    async def ping(self) -> None:
        pass

    async def hold(self, key: bytes = b"0") -> asyncio.Future[None]:
        """A record that is being written, until ``may_end``; what comes later waits behind it."""
        self.may_end.clear()
        before = len(self.written)
        held = await self.enqueue("t", key, b"held")
        await eventually(lambda: len(self.written) > before)
        return held


@pytest.fixture
async def producer() -> AsyncIterator[Told]:
    made = Told()
    await made.start()
    yield made
    made.may_end.set()
    made.may_count.set()
    await made.close()


async def _fails(future: asyncio.Future[None]) -> str:
    with pytest.raises(BusUnavailable) as caught:
        async with asyncio.timeout(10):
            await future
    return str(caught.value)


async def test_what_waits_goes_in_batches_of_so_many_records_and_bytes(
    producer: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_BATCH_RECORDS", 3)
    monkeypatch.setattr(batching, "_BATCH_BYTES", 100)
    sent = [await producer.hold()]
    sent += [await producer.enqueue("t", b"0", b"%d" % n) for n in range(7)]
    # With its key each has a half of the bytes, but for one that is too large for any company.
    halves = [b"x" * 49] * 3
    sent += [await producer.enqueue("t", b"0", value) for value in [*halves, b"y" * 200, b"z"]]
    producer.may_end.set()
    await asyncio.gather(*sent)
    assert [len(batch) for batch in producer.written] == [1, 3, 3, 2, 2, 1, 1]
    assert [value[:1] for batch in producer.written for value in batch] == [
        *(b"h", b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x", b"x", b"x", b"y", b"z")
    ]


async def test_what_the_log_refuses_fails_with_what_is_behind_it_and_nothing_else(
    producer: Told,
) -> None:
    producer.errors = {0: BusUnavailable("full")}
    refused = await producer.hold()
    behind = await producer.enqueue("t", b"0", b"behind")
    other = await producer.enqueue("t", b"1", b"other")
    producer.may_end.set()
    assert (await _fails(refused), await _fails(behind)) == ("full", "full")
    await other
    # The link is sound, and what comes now is not behind it.
    producer.errors = {}
    await producer.send("t", b"0", b"again")
    assert producer.written == [[b"held"], [b"other"], [b"again"]]
    assert (producer.opened, producer.counted) == (1, 1)


async def test_a_link_that_breaks_fails_all_that_is_buffered_and_is_made_anew(
    producer: Told,
) -> None:
    held, other = await producer.hold(), await producer.hold(b"1")
    behind = await producer.enqueue("t", b"1", b"behind")
    producer.may_count.clear()
    unplaced = await producer.enqueue("new", b"0", b"unplaced")
    producer.errors = {0: ConnectionError("gone")}
    producer.may_end.set()
    reasons = [await _fails(future) for future in (held, other, behind, unplaced)]
    assert all("gone" in reason or reason == "the link broke" for reason in reasons)
    producer.errors = {}
    producer.may_count.set()
    await eventually(producer.connected)
    # What the topics are is asked anew, and nothing is sent that was told to have failed.
    for key in (b"0", b"1"):
        await producer.send("t", key, key)
    assert producer.written[2:] == [[b"0"], [b"1"]]
    assert producer.opened == 2
    assert producer.counted == 3


async def test_what_is_not_safe_in_time_fails_and_the_link_with_it() -> None:
    producer = Told(timeout_ms=200)
    await producer.start()
    before = time.monotonic()
    held = await producer.hold()
    assert await _fails(held) == "not safe in time"
    assert 0.2 <= time.monotonic() - before < 2
    producer.may_end.set()
    await eventually(lambda: producer.opened == 2 and producer.connected())
    await producer.send("t", b"0", b"again")
    await producer.close()


async def test_a_topic_that_cannot_be_looked_up_fails_its_own_records(producer: Told) -> None:
    producer.unknown = KeyError("unknown")
    producer.may_count.clear()
    lost = [await producer.enqueue("unknown", b"0", b"%d" % n) for n in range(2)]
    kept = [await producer.enqueue("t", b"0", b"%d" % n) for n in range(3)]
    # Each topic is asked for once.
    await eventually(lambda: producer.counted == 2)
    producer.may_count.set()
    for future in lost:
        assert "topic unknown" in await _fails(future)
    await asyncio.gather(*kept)
    assert [value for batch in producer.written for value in batch] == [b"0", b"1", b"2"]
    assert producer.connected()
    # It may be there by now.
    producer.unknown = None
    await producer.send("unknown", b"0", b"3")


@pytest.mark.parametrize("bound", ["records", "bytes"])
async def test_who_would_overfill_the_buffer_waits_for_room(
    producer: Told, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    if bound == "records":
        producer._buffer_records = 2
    else:
        # Those two just fill it.
        monkeypatch.setattr(batching, "_BUFFER_BYTES", len(b"0held0" + b"x" * 10))
    held = await producer.hold()
    async with asyncio.timeout(10):
        second = await producer.enqueue("t", b"0", b"x" * 10)
    waiting = [asyncio.create_task(producer.enqueue("t", b"0", b"%d" % n)) for n in range(2)]
    done, _ = await asyncio.wait(waiting, timeout=0.1)
    assert not done
    producer.may_end.set()
    await asyncio.gather(held, second, *await asyncio.gather(*waiting))
    # They keep their places all the same.
    assert producer.written == [[b"held"], [b"x" * 10, b"0", b"1"]]


async def test_who_waits_for_room_while_the_link_breaks_is_told(producer: Told) -> None:
    producer._buffer_records = 1
    producer.errors = {0: ConnectionError("gone")}
    held = await producer.hold()
    waiting = asyncio.create_task(producer.enqueue("t", b"1", b"x"))
    await asyncio.wait([waiting], timeout=0.05)
    producer.may_end.set()
    with pytest.raises(BusUnavailable):
        await waiting
    await _fails(held)


async def test_who_hands_over_many_is_told_once_of_each_and_waits_where_there_is_no_room(
    producer: Told,
) -> None:
    told: list[tuple[int, str]] = []

    def put(number: int, key: bytes) -> Awaitable[None] | None:
        def settled(error: BusUnavailable | None) -> None:
            told.append((number, str(error or "")))

        return producer.put("t", key, b"%d" % number, settled=settled)

    producer._buffer_records = 2
    held = await producer.hold()
    assert put(1, b"0") is None
    room = put(2, b"0")
    assert room is not None
    waiting = asyncio.ensure_future(room)
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    producer.may_end.set()
    await asyncio.gather(held, waiting)
    await eventually(lambda: len(told) == 2)
    producer.errors = {1: ConnectionError("gone")}
    assert put(3, b"1") is None
    await eventually(lambda: len(told) == 3)
    assert told[:2] == [(1, ""), (2, "")]
    assert told[2][0] == 3
    assert "gone" in told[2][1]


async def test_closing_sends_what_is_buffered_and_takes_nothing_more(producer: Told) -> None:
    held = await producer.hold()
    behind = await producer.enqueue("t", b"0", b"behind")
    closing = asyncio.create_task(producer.close())
    done, _ = await asyncio.wait([closing], timeout=0.1)
    assert not done
    with pytest.raises(BusUnavailable):
        await producer.enqueue("t", b"0", b"late")
    producer.may_end.set()
    await asyncio.gather(held, behind, closing)
    assert producer.written == [[b"held"], [b"behind"]]
    assert not producer.connected()
    # Nor does it go on making its link anew.
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "bus-producer"]


async def test_closing_waits_for_a_silent_log_only_so_long(
    producer: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_CLOSE_WAIT_S", 0.1)
    held = await producer.hold()
    async with asyncio.timeout(10):
        await producer.close()
    await _fails(held)


async def test_the_end_of_a_wait_that_is_over_wakes_nobody(producer: Told) -> None:
    await producer.send("t", b"0", b"first")
    lingering = await producer.enqueue("t", b"0", b"a", linger_s=0.2)
    await producer.send("t", b"1", b"takes it along")
    await lingering
    later = await producer.enqueue("t", b"0", b"b", linger_s=60)
    done, _ = await asyncio.wait([later], timeout=0.5)
    assert not done
    await producer.send("t", b"1", b"takes it along")
    await later
