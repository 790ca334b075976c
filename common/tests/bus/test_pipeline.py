"""From what was read to the handler and the commit, where commits fail, partitions go and handlers
hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

import pytest

from im_common.bus import Committed, Finish, Record, pipeline
from im_common.bus.interface import NO_HEADERS
from im_common.bus.pipeline import Partition, Pipeline
from im_common.testing.waiting import eventually

MAX_BATCH = 4


def records(partition: int, *numbers: int) -> list[Record]:
    return [Record("t", partition, f"{n:03}", b"", b"", NO_HEADERS) for n in numbers]


class Log:
    """Takes commits: by partition, up to where."""

    def __init__(self) -> None:
        self.commits: list[dict[int, str]] = []
        self.failures = 0
        self.lost: set[int] = set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def commit(self, positions: Mapping[Partition, str]) -> Collection[Partition]:
        await self.may_answer.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        self.commits.append({p.number: position for p, position in positions.items()})
        return [p for p in positions if p.number in self.lost]


class Handler:
    """Remembers what was begun, as (partition, number), and what was cancelled."""

    def __init__(self) -> None:
        self.begun: list[list[tuple[int, int]]] = []
        self.cancelled = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        # Whether something is to be done when a batch is committed, and of which that was done, by its
        # last record.
        self.soon = False
        self.done: list[int] = []
        self.may_be_done = asyncio.Event()
        self.may_be_done.set()

    async def __call__(self, batch: Sequence[Record]) -> Finish:
        self.begun.append([(record.partition, int(record.position)) for record in batch])
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        soon = self.soon

        async def committed() -> None:
            await self.may_be_done.wait()
            self.done.append(int(batch[-1].position))

        async def finish() -> Committed | None:
            return committed if soon else None

        return finish


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
async def pipe(log: Log, handler: Handler) -> AsyncIterator[Pipeline]:
    made = Pipeline(handler, log.commit, max_batch=MAX_BATCH)
    yield made
    handler.may_end.set()
    log.may_answer.set()
    await made.close()


async def _settle(turns: int = 20) -> None:
    """What can happen without waiting for anything has happened."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def _begun(handler: Handler, count: int) -> None:
    await eventually(lambda: len(handler.begun) >= count)


async def test_a_commit_that_fails_is_made_again_with_what_is_finished_by_then(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    log.failures = 1
    partition = pipe.add("t", 0)
    partition.feed(records(0, 0))
    await eventually(lambda: not log.failures)
    partition.feed(records(0, 1))
    await eventually(lambda: log.commits)
    assert log.commits == [{0: "001"}]
    assert partition.committed == "001"
    assert handler.begun == [[(0, 0)], [(0, 1)]]


async def test_one_commit_covers_what_is_finished_meanwhile_but_for_what_wants_its_own(
    pipe: Pipeline, log: Log, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_COMMIT_INTERVAL_S", 60.0)
    partition = pipe.add("t", 0)
    for number in range(3):
        partition.feed(records(0, number))
        await _begun(handler, number + 1)
        # The first at once.
        await eventually(lambda: log.commits)
        await _settle()
    assert log.commits == [{0: "000"}]
    handler.soon = True
    partition.feed(records(0, 3))
    await eventually(lambda: len(log.commits) == 2)
    assert log.commits[1] == {0: "003"}


async def test_what_follows_a_commit_waits_for_it_and_holds_none_up(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    handler.soon = True
    handler.may_be_done.clear()
    log.failures = 1
    partition = pipe.add("t", 0)
    partition.feed(records(0, 0))
    await eventually(lambda: not log.failures)
    assert partition.committed == ""
    await eventually(lambda: partition.committed == "000")
    partition.feed(records(0, 1))
    await eventually(lambda: partition.committed == "001")
    assert handler.done == []
    handler.may_be_done.set()
    await eventually(lambda: handler.done == [0, 1])


async def test_nothing_follows_for_a_partition_that_is_somebody_elses_by_then(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    handler.soon = True
    log.may_answer.clear()
    ours, others = pipe.add("t", 0), pipe.add("t", 1)
    others.feed(records(1, 0))
    await _begun(handler, 1)
    await _settle()
    log.lost = {1}
    log.may_answer.set()
    await eventually(others.ended)
    ours.feed(records(0, 7))
    await eventually(lambda: handler.done)
    assert (handler.done, log.commits) == ([7], [{1: "000"}, {0: "007"}])


async def test_who_gives_a_partition_up_or_ends_has_done_what_follows_its_commits(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    handler.soon = True
    log.may_answer.clear()
    partition = pipe.add("t", 0)
    partition.feed(records(0, 0))
    await _begun(handler, 1)
    await _settle()
    draining = asyncio.create_task(partition.drain(30))
    await _settle()
    assert (draining.done(), handler.done) == (False, [])
    log.may_answer.set()
    await draining
    await pipe.close()
    assert (log.commits, handler.done) == ([{0: "000"}], [0])


async def test_closing_ends_what_follows_a_commit_for_too_long(
    pipe: Pipeline, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_CANCEL_WAIT_S", 0.1)
    handler.soon = True
    handler.may_be_done.clear()
    partition = pipe.add("t", 0)
    partition.feed(records(0, 0))
    await eventually(lambda: partition.committed == "000")
    async with asyncio.timeout(10):
        await pipe.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "bus-after"]
    assert handler.done == []


async def test_commits_follow_one_another_at_the_latest_after_the_interval(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    partition = pipe.add("t", 0)
    for number in range(3):
        partition.feed(records(0, number))
        await eventually(lambda number=number: partition.committed == f"{number:03}")
    assert [one[0] for one in log.commits] == ["000", "001", "002"]


async def test_what_shared_a_batch_with_a_partition_that_was_lost_begins_again(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    ours, others = pipe.add("t", 0), pipe.add("t", 1)
    log.may_answer.clear()
    ours.feed(records(0, 0))
    others.feed(records(1, 0))
    await _begun(handler, 1)
    await _settle()
    handler.may_end.clear()
    ours.feed(records(0, 1))
    others.feed(records(1, 1))
    await _begun(handler, 2)
    # Only now the log says that somebody else owns it.
    log.lost = {1}
    log.may_answer.set()
    await _begun(handler, 3)
    assert handler.begun == [[(0, 0), (1, 0)], [(0, 1), (1, 1)], [(0, 1)]]
    assert (handler.cancelled, others.lost, others.ended(), ours.ended()) == (1, True, True, False)
    handler.may_end.set()
    await eventually(lambda: len(log.commits) == 2)
    assert log.commits == [{0: "000", 1: "000"}, {0: "001"}]
    # What it would be fed is ignored.
    others.feed(records(1, 1))
    await _settle()
    assert len(handler.begun) == 3


async def test_who_gives_a_partition_up_finishes_what_was_begun_and_no_more(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    partition = pipe.add("t", 0)
    handler.may_end.clear()
    partition.feed(records(0, 0))
    await _begun(handler, 1)
    partition.feed(records(0, 1))
    draining = asyncio.create_task(partition.drain(30))
    await _settle()
    assert not draining.done()
    handler.may_end.set()
    await draining
    assert (log.commits, handler.begun) == ([{0: "000"}], [[(0, 0)]])
    assert (partition.ended(), handler.cancelled) == (True, 0)


async def test_one_that_has_nothing_in_hand_is_given_up_at_once(pipe: Pipeline, log: Log) -> None:
    partition = pipe.add("t", 0)
    async with asyncio.timeout(10):
        await partition.drain(30)
    assert log.commits == []


async def test_a_handler_that_takes_too_long_is_cancelled_and_nothing_of_it_committed(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    partition, other = pipe.add("t", 0), pipe.add("t", 1)
    handler.may_end.clear()
    partition.feed(records(0, 0))
    other.feed(records(1, 0))
    await _begun(handler, 1)
    before = time.monotonic()
    await partition.drain(0.1)
    assert 0.1 <= time.monotonic() - before < 2
    # The other one loses nothing by it.
    await _begun(handler, 2)
    handler.may_end.set()
    await eventually(lambda: log.commits)
    assert (handler.cancelled, log.commits) == (1, [{1: "000"}])
    assert handler.begun[1] == [(1, 0)]


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_handler_that_holds_its_cancellation_up_holds_nobody_up(
    log: Log, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(pipeline, "_CANCEL_WAIT_S", 0.1)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Sequence[Record]) -> None:
        begun.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    made = Pipeline(stubborn, log.commit, max_batch=MAX_BATCH)
    partition = made.add("t", 0)
    partition.feed(records(0, 0))
    await begun.wait()
    ending: Callable[[], Awaitable[None]] = partition.abort if how == "abort" else made.close
    async with asyncio.timeout(10):
        await ending()
    may_end.set()
    await _settle()
    # It ends as if nothing had been asked of it, and yet nothing is committed.
    assert log.commits == []
    await made.close()


async def test_closing_does_not_wait_for_a_commit(
    pipe: Pipeline, log: Log, handler: Handler
) -> None:
    log.may_answer.clear()
    partition = pipe.add("t", 0)
    partition.feed(records(0, 0))
    await _begun(handler, 1)
    await _settle()
    async with asyncio.timeout(10):
        await pipe.close()
    log.may_answer.set()
    await _settle()
    assert (log.commits, partition.committed) == ([], "")


async def test_a_reader_waits_while_four_batches_wait_and_goes_on_at_two(
    pipe: Pipeline, handler: Handler
) -> None:
    partition = pipe.add("t", 0)
    handler.may_end.clear()
    partition.feed(records(0, 0))
    await _begun(handler, 1)
    partition.feed(records(0, *range(1, 4 * MAX_BATCH + 1)))
    reading = asyncio.create_task(partition.room())
    await _settle()
    assert partition.full()
    assert not reading.done()
    assert not partition.hungry()
    handler.may_end.set()
    async with asyncio.timeout(10):
        await reading
    assert not partition.full()
    await eventually(partition.hungry)
    assert [pair for batch in handler.begun for pair in batch] == [
        (0, n) for n in range(4 * MAX_BATCH + 1)
    ]


async def test_a_reader_that_waits_for_room_goes_on_when_its_partition_is_lost(
    pipe: Pipeline, handler: Handler
) -> None:
    partition = pipe.add("t", 0)
    handler.may_end.clear()
    partition.feed(records(0, *range(9 * MAX_BATCH)))
    reading = asyncio.create_task(partition.room())
    await _settle()
    assert not reading.done()
    partition.lose()
    async with asyncio.timeout(10):
        await reading
    assert partition.ended()


async def test_who_has_had_a_turn_lets_others_begin_beside_it(
    pipe: Pipeline, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_TURN_S", 0.5)
    first, second = pipe.add("t", 0), pipe.add("t", 1)
    handler.may_end.clear()
    first.feed(records(0, 0))
    await _begun(handler, 1)
    second.feed(records(1, 0))
    await _settle()
    assert len(handler.begun) == 1
    # Nothing else happens: it is the time that brings it on.
    await _begun(handler, 2)
    assert handler.begun[1] == [(1, 0)]
