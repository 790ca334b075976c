"""From what a consumer has read to its handler: the tasks around ``flow``, which decides. Both logs use
it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from im_common.bus.flow import Batch, Flow, Hold, Stage, Track
from im_common.bus.interface import Committed, Handler, Record
from im_common.runtime import metrics
from im_common.runtime.backoff import Backoff, describe
from im_common.runtime.tasks import end, is_told_to_end

log = structlog.get_logger(__name__)

T = TypeVar("T")

# A commit follows the effect at once when the last one is longer ago than this; under load one
# commit then covers many batches. A crash repeats that much more work, which is idempotent.
_COMMIT_INTERVAL_S = 0.1
_COMMIT = "commit"
# No longer than this a shared batch holds up the partitions that are not in it.
_TURN_S = 0.05
_CANCEL_WAIT_S = 1.0


class Partition:
    """The records of one partition on their way through a pipeline, fed by a reader."""

    def __init__(self, pipeline: Pipeline, track: Track) -> None:
        self.topic = track.topic
        self.number = track.number
        self.track = track
        self._pipeline = pipeline
        self._room = asyncio.Event()
        self._settled = asyncio.Event()
        self.tell()

    @property
    def lost(self) -> bool:
        """Whether somebody else owns it."""
        return self.track.hold is Hold.LOST

    @property
    def committed(self) -> str:
        """The position of the last committed record; empty before the first."""
        return self.track.committed

    # --- fed by the reader -------------------------------------------------------------------

    def feed(self, records: Sequence[Record]) -> None:
        """Adds what was read next. Ignored once it ends: the next owner reads it again."""
        self._pipeline.feed(self, records)

    def full(self) -> bool:
        """Whether the reader should pause. It stays so until half of the buffer is used up."""
        return self.track.full

    async def room(self) -> None:
        """Waits until the reader should go on."""
        await self._room.wait()

    def ended(self) -> bool:
        """Whether what it would be fed is ignored."""
        return self.track.hold is not Hold.OURS

    def hungry(self) -> bool:
        """Whether it waits for records."""
        return self.track.is_hungry()

    # --- ended by the owner ------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> None:
        """Finishes and commits what a stage has begun, drops the rest, and ends. After
        ``timeout_s`` it ends without commit."""
        self._pipeline.end(self)
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

    def lose(self) -> None:
        """Somebody else owns it: nothing of it begins or is committed any more. ``abort`` follows."""
        self._pipeline.lose(self)

    async def abort(self) -> None:
        """Ends at once; what is in hand is not committed. The others lose nothing: what shared a batch
        with it begins again."""
        await self._pipeline.remove(self)

    # --- used by the pipeline ----------------------------------------------------------------

    def tell(self) -> None:
        """Wakes who waits for what is so by now."""
        if self.track.full:
            self._room.clear()
        else:
            self._room.set()
        if self.track.is_settled():
            self._settled.set()


# Takes the positions of finished records, and gives the partitions that somebody else owns now.
Commit = Callable[[Mapping[Partition, str]], Awaitable[Collection[Partition]]]


class Pipeline:
    """Takes what its partitions are fed through the handler's stages, each partition in order."""

    def __init__(self, handler: Handler, commit: Commit, *, max_batch: int) -> None:
        """``commit`` is called again, with newer positions, when it raises."""
        self._handler = handler
        self._commit_to = commit
        self._flow = Flow(max_batch=max_batch)
        self._partitions: dict[Track, Partition] = {}
        # Those that are full or end: somebody waits for them.
        self._waited_for: set[Partition] = set()
        # What works on the batches in hand.
        self._working: set[asyncio.Task[None]] = set()
        self._turn: asyncio.TimerHandle | None = None
        self._awake = False
        self._committer: asyncio.Task[None] | None = None
        # What follows commits: whoever is slow there holds none up.
        self._following: set[asyncio.Task[None]] = set()
        # What is finished is to be committed at once.
        self._hurry = asyncio.Event()

    def add(self, topic: str, number: int) -> Partition:
        """From now on it may be fed."""
        track = self._flow.add(topic, number)
        partition = self._partitions[track] = Partition(self, track)
        return partition

    def feed(self, partition: Partition, records: Sequence[Record]) -> None:
        self._flow.feed(partition.track, records)
        if partition.full():
            self._wait_for(partition)
        # Batches begin as soon as the caller has fed all that it has.
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._wake)

    def end(self, partition: Partition) -> None:
        self._flow.end(partition.track)
        self._wait_for(partition)
        self._go()

    def lose(self, partition: Partition) -> None:
        self._flow.lose(partition.track)
        self._wait_for(partition)
        self._go()

    async def remove(self, partition: Partition) -> None:
        self._flow.lose(partition.track)
        try:
            if partition.track.batches:
                await self._interrupt()
        finally:
            partition.tell()
            self._partitions.pop(partition.track, None)
            self._waited_for.discard(partition)

    async def close(self) -> None:
        """Ends at once; what is in hand is not committed. What follows a commit has a moment to end."""
        for track in self._partitions:
            self._flow.lose(track)
        if self._turn is not None:
            self._turn.cancel()
        if self._committer is not None:
            self._committer.cancel()
            await asyncio.wait({self._committer}, timeout=_CANCEL_WAIT_S)
        await self._interrupt()
        if self._following:
            await asyncio.wait(self._following, timeout=_CANCEL_WAIT_S)
            await end(*self._following)
        self._partitions.clear()
        self._waited_for.clear()

    def _wait_for(self, partition: Partition) -> None:
        partition.tell()
        self._waited_for.add(partition)

    # --- batches -----------------------------------------------------------------------------

    def _wake(self) -> None:
        self._awake = False
        self._go()

    def _go(self) -> None:
        """After each change: begins what may begin now, and wakes who waits for what is so."""
        for batch in self._flow.begin():
            if batch.stage is Stage.ONE:
                self._work(self._store(batch))
            else:
                self._work(self._deliver(batch))
            if batch is self._flow.shared:
                self._time_turn(batch)
        for partition in list(self._waited_for):
            partition.tell()
            if not partition.full() and not partition.ended():
                self._waited_for.discard(partition)
        if self._flow.is_urgent():
            self._hurry.set()
        if self._flow.due() and (self._committer is None or self._committer.done()):
            self._committer = asyncio.create_task(self._commit(), name="bus-commit")

    def _work(self, stage: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(stage, name="bus-batch")
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _store(self, batch: Batch) -> None:
        records = batch.records()
        metrics.BUS_BATCH.labels(records[0].topic).observe(len(records))
        with metrics.BUS_STAGE.labels(records[0].topic, "1").time():
            finish = await self._persist("first stage", partial(self._handler, records))
        self._flow.stored(batch, finish)
        self._go()

    async def _deliver(self, batch: Batch) -> None:
        committed: Committed | None = None
        if batch.finish is not None:
            with metrics.BUS_STAGE.labels(next(iter(batch.parts)).topic, "2").time():
                committed = await self._persist("second stage", batch.finish)
        self._flow.finished(batch, committed)
        self._go()

    def _time_turn(self, batch: Batch) -> None:
        def end() -> None:
            self._flow.release_turn(batch)
            self._go()

        if self._turn is not None:
            self._turn.cancel()
        self._turn = asyncio.get_running_loop().call_later(_TURN_S, end)

    async def _interrupt(self) -> None:
        """Cancels all work in hand and puts it back in front of what waits."""
        self._flow.revoke()
        working = set(self._working)
        for task in working:
            task.cancel()
        try:
            if working:
                # A handler may hold its cancellation up; it must not hold up the release.
                await asyncio.wait(working, timeout=_CANCEL_WAIT_S)
        finally:
            self._flow.put_back()
            self._go()

    # --- commits -----------------------------------------------------------------------------

    async def _commit(self) -> None:
        while self._flow.due():
            await self._persist(_COMMIT, self._commit_once)
            with suppress(TimeoutError):
                async with asyncio.timeout(_COMMIT_INTERVAL_S):
                    await self._hurry.wait()

    async def _commit_once(self) -> None:
        self._hurry.clear()
        due = self._flow.commit_begins()
        positions = {self._partitions[track]: position for track, position in due.items()}
        lost = await self._commit_to(positions) if positions else ()
        for then in self._flow.committed(due, {partition.track for partition in lost}):
            task = asyncio.create_task(self._persist("after the commit", then), name="bus-after")
            self._following.add(task)
            task.add_done_callback(self._following.discard)
        self._go()
        for partition in lost:
            log.warning("bus.partition_lost", topic=partition.topic, partition=partition.number)
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
