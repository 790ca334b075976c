"""From what a consumer has read to its handler: batches, two overlapping stages, commits. Both logs
use it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TypeVar

import structlog

from im_common.bus.backoff import Backoff, describe
from im_common.bus.interface import Handler, Record
from im_common.runtime.tasks import is_told_to_end

log = structlog.get_logger(__name__)

T = TypeVar("T")

# A commit follows the effect at once when the last one is longer ago than this; under load one
# commit then covers many batches. A crash repeats that much more work, which is idempotent. It does
# not wait for a partition's first batch, so that who is killed again and again gets on all the same,
# nor with more than a batch of records: those who drop what they had already remember so much only.
_COMMIT_INTERVAL_S = 0.1
_COMMIT = "commit"
# A partition with so many records makes batches of its own, in parallel with the others. Those with
# fewer share one batch, and the next gathers while it is in stage one: what a batch costs however
# small it is would be most of the work.
_OWN_BATCH = 50
# But no longer than this: what holds one partition up must not hold up the others.
_TURN_S = 0.05
_CANCEL_WAIT_S = 1.0


@dataclass(eq=False)
class Partition:
    """The records of one partition on their way through a pipeline, fed by a reader."""

    topic: str
    number: int
    _pipeline: Pipeline
    # Somebody else owns it: what is in hand is dropped, and nothing is committed any more.
    lost: bool = False
    # Positions of the last record that went through both stages, and of the last committed one;
    # empty before the first.
    finished: str = ""
    committed: str = ""
    _draining: bool = False
    _buffer: deque[Record] = field(default_factory=deque)
    # Batches with records of it, at most one in each stage.
    _batches: deque[_Batch] = field(default_factory=deque)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._room.set()

    # --- fed by the reader -------------------------------------------------------------------

    def feed(self, records: Sequence[Record]) -> None:
        """Adds what was read next. Ignored once it ends: the next owner reads it again."""
        if self.ended():
            return
        self._buffer.extend(records)
        if len(self._buffer) >= 4 * self._pipeline.max_batch:
            self._room.clear()
        self._pipeline.wake()

    def full(self) -> bool:
        """Whether the reader should pause. It stays so until half of the buffer is used up."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Waits until the reader should go on."""
        await self._room.wait()

    def ended(self) -> bool:
        """Whether what it would be fed is ignored."""
        return self.lost or self._draining

    def hungry(self) -> bool:
        """Whether it waits for records."""
        return not self._buffer and not self._storing()

    # --- ended by the owner ------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> None:
        """Finishes and commits what a stage has begun, drops the rest, and ends. After
        ``timeout_s`` it ends without commit."""
        self._draining = True
        self._buffer.clear()
        self._settle()
        self._pipeline.hurry()
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            log.warning(
                "bus.drain_too_slow",
                topic=self.topic,
                partition=self.number,
                timeout_s=timeout_s,
            )
        await self.abort()

    async def abort(self) -> None:
        """Ends at once; what is in hand is not committed."""
        self.lost = True
        await self._pipeline.remove(self)

    # --- used by the pipeline ----------------------------------------------------------------

    def _storing(self) -> bool:
        return bool(self._batches) and not self._batches[-1].stored

    def _take(self, most: int) -> list[Record]:
        buffer = self._buffer
        records = [buffer.popleft() for _ in range(min(len(buffer), most))]
        if len(buffer) <= 2 * self._pipeline.max_batch:
            self._room.set()
        return records

    def _put_back(self, records: Sequence[Record]) -> None:
        if not self.ended():
            self._buffer.extendleft(reversed(records))

    def _settle(self) -> None:
        if self._draining and not self._batches and (self.lost or self.committed == self.finished):
            self._settled.set()


@dataclass(eq=False)
class _Batch:
    """Records of one partition or of several, those of each in order."""

    parts: Mapping[Partition, Sequence[Record]]
    # Whether stage one has ended, and so has stage two of all that was before it.
    stored: bool = False
    task: asyncio.Task[None] | None = None


# Takes the positions of finished records, and gives the partitions that somebody else owns now.
Commit = Callable[[Mapping[Partition, str]], Awaitable[Collection[Partition]]]


class Pipeline:
    """Takes what its partitions are fed through the handler's stages, each partition in order."""

    def __init__(self, handler: Handler, commit: Commit, *, max_batch: int) -> None:
        """``commit`` is called again, with newer positions, when it raises."""
        self.max_batch = max_batch
        self._handler = handler
        self._commit_to = commit
        self._partitions: set[Partition] = set()
        # In the order in which they began.
        self._batches: list[_Batch] = []
        # The small batch in stage one, and the end of its turn.
        self._shared: _Batch | None = None
        self._turn: asyncio.TimerHandle | None = None
        self._interruptions = 0
        self._awake = False
        self._committer: asyncio.Task[None] | None = None
        # Records that went through both stages since the last commit.
        self._uncommitted = 0
        # What is finished is to be committed at once.
        self._hurry = asyncio.Event()

    def add(self, topic: str, number: int) -> Partition:
        """From now on it may be fed."""
        partition = Partition(topic, number, self)
        self._partitions.add(partition)
        return partition

    def hurry(self) -> None:
        """A partition is about to end: what is finished is committed at once."""
        self._hurry.set()

    async def remove(self, partition: Partition) -> None:
        """Drops it with what is in hand of it. The others lose nothing: what shared a batch with it
        begins again."""
        self._partitions.discard(partition)
        if partition._batches:
            await self._interrupt()

    async def close(self) -> None:
        """Ends at once; what is in hand is not committed."""
        for partition in self._partitions:
            partition.lost = True
        self._partitions.clear()
        if self._committer is not None:
            self._committer.cancel()
            await asyncio.wait({self._committer}, timeout=_CANCEL_WAIT_S)
        await self._interrupt()

    def wake(self) -> None:
        """Begins batches as soon as its caller has fed all that it has."""
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._start_batches)

    # --- batches -----------------------------------------------------------------------------

    def _start_batches(self) -> None:
        self._awake = False
        while not self._interruptions and (batch := self._next_batch()):
            before = {p._batches[-1] for p in batch.parts if p._batches}
            for partition in batch.parts:
                partition._batches.append(batch)
            self._batches.append(batch)
            batch.task = asyncio.create_task(self._work(batch, before), name="bus-batch")

    def _next_batch(self) -> _Batch | None:
        free = [p for p in self._partitions if p._buffer and not p._storing()]
        for partition in free:
            if len(partition._buffer) >= _OWN_BATCH:
                return _Batch({partition: partition._take(self.max_batch)})
        if self._shared is not None or not free:
            return None
        free = free[: self.max_batch]
        most = self.max_batch // len(free)
        self._shared = _Batch({partition: partition._take(most) for partition in free})
        self._turn = asyncio.get_running_loop().call_later(_TURN_S, self._overrun)
        return self._shared

    async def _work(self, batch: _Batch, before: Collection[_Batch]) -> None:
        records = list(chain.from_iterable(batch.parts.values()))
        finish = await self._persist("first stage", partial(self._handler, records))
        tasks = [earlier.task for earlier in before if earlier.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        if batch not in self._batches:
            return  # interrupted, and the handler overheard it
        batch.stored = True
        if self._shared is batch:
            self._end_turn()
        # While this second stage runs the next batch goes through the first.
        self._start_batches()
        if finish is not None:
            await self._persist("second stage", finish)
        if batch not in self._batches:
            return
        self._batches.remove(batch)
        for partition, part in batch.parts.items():
            partition._batches.remove(batch)
            partition.finished = part[-1].position
        self._uncommitted += len(records)
        if self._uncommitted >= self.max_batch or not all(p.committed for p in batch.parts):
            self._hurry.set()
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit(), name="bus-commit")

    def _end_turn(self) -> None:
        self._shared = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _overrun(self) -> None:
        self._end_turn()
        self._start_batches()

    async def _interrupt(self) -> None:
        """Cancels all work in hand and puts it back in front of what waits."""
        self._interruptions += 1
        batches, self._batches = self._batches, []
        try:
            tasks = [batch.task for batch in batches if batch.task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                # A handler may hold its cancellation up; it must not hold up the release.
                await asyncio.wait(tasks, timeout=_CANCEL_WAIT_S)
        finally:
            for batch in reversed(batches):
                for partition, records in batch.parts.items():
                    partition._batches.remove(batch)
                    partition._put_back(records)
                    partition._settle()
            self._end_turn()
            self._interruptions -= 1
        self._start_batches()

    # --- commits -----------------------------------------------------------------------------

    async def _commit(self) -> None:
        while self._due():
            await self._persist(_COMMIT, self._commit_once)
            with suppress(TimeoutError):
                async with asyncio.timeout(_COMMIT_INTERVAL_S):
                    await self._hurry.wait()

    def _due(self) -> dict[Partition, str]:
        return {p: p.finished for p in self._partitions if p.finished != p.committed and not p.lost}

    async def _commit_once(self) -> None:
        due, self._uncommitted = self._due(), 0
        if not any(p._draining for p in self._partitions):
            self._hurry.clear()
        lost = await self._commit_to(due) if due else ()
        for partition, position in due.items():
            if partition not in lost:
                partition.committed = position
            else:
                log.warning("bus.partition_lost", topic=partition.topic, partition=partition.number)
                partition.lost = True
            partition._settle()
        for partition in lost:
            await self.remove(partition)

    async def _persist(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeats ``attempt`` until it succeeds. Only being cancelled ends it."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                result = await attempt()
                _heed_cancellation()
                return result
            except asyncio.CancelledError as error:
                # A call inside the handler may have been cancelled by its own library (a closed
                # gRPC channel does it): that is a failed attempt, not the end of this task.
                if is_told_to_end():
                    raise
                cause: BaseException = error
            except Exception as error:
                cause = error
            pause_s = backoff.next_s()
            log.error(
                "bus.stage_failed",
                stage=what,
                error=describe(cause),
                retry_in_s=round(pause_s, 2),
                exc_info=None if what == _COMMIT else cause,
            )
            await asyncio.sleep(pause_s)


def _heed_cancellation() -> None:
    """Until Python 3.12 asyncio.wait_for, which libraries use, may lose a cancellation that comes when
    what it waits for is done: a task that was told to end would go on."""
    if is_told_to_end():
        raise asyncio.CancelledError
