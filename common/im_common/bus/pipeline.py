"""The worker of one partition: batches, two overlapping stages, commits. Both logs use it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from im_common.bus.backoff import Backoff, describe
from im_common.bus.interface import Finish, Handler, Record

log = structlog.get_logger(__name__)

T = TypeVar("T")
Commit = Callable[[str], Awaitable[None]]

# A commit follows the effect at once when the last one is longer ago than this; under load one
# commit then covers many batches. A crash repeats that much more work, which is idempotent.
_COMMIT_INTERVAL_S = 0.05
_COMMIT = "commit"


class PartitionLost(Exception):
    """Raised by a commit: somebody else owns the partition now."""


class PartitionWorker:
    """Takes the records it is fed through the handler's stages, in order.

    ``commit`` is called with the position of the last record of a finished batch. When it raises
    PartitionLost the worker stops for good (``lost``); any other error is tried again.
    """

    def __init__(
        self, topic: str, partition: int, handler: Handler, commit: Commit, *, max_batch: int
    ) -> None:
        self._handler = handler
        self._commit_to = commit
        self._max_batch = max_batch
        self._log = log.bind(topic=topic, partition=partition)
        self._buffer: deque[Record] = deque()
        self._fed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._draining = asyncio.Event()
        self._finished = self._committed = ""
        self._hungry = False
        self._committer: asyncio.Task[None] | None = None
        self._second: asyncio.Task[None] | None = None
        self.lost = False
        self._main = asyncio.create_task(self._work(), name=f"bus-{topic}-{partition}")

    # --- fed by the reader -------------------------------------------------------------------

    def feed(self, records: Sequence[Record]) -> None:
        """Adds what was read next. Ignored once the worker ends: the next owner reads it again."""
        if self.lost or self._draining.is_set():
            return
        self._buffer.extend(records)
        self._fed.set()
        if len(self._buffer) >= 4 * self._max_batch:
            self._room.clear()

    def full(self) -> bool:
        """Whether the reader should pause. It stays so until half of the buffer is used up."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Waits until the reader should go on."""
        await self._room.wait()

    @property
    def committed(self) -> str:
        """Position of the last record committed by this worker; empty before the first."""
        return self._committed

    def hungry(self) -> bool:
        """Whether it waits for records."""
        return self._hungry

    # --- ended by the owner ------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> None:
        """Finishes and commits what a stage has begun, drops the rest, and ends. After
        ``timeout_s`` it ends without commit."""
        self._draining.set()
        self._fed.set()
        _, late = await asyncio.wait({self._main}, timeout=timeout_s)
        if late:
            self._log.warning("bus.drain_too_slow", timeout_s=timeout_s)
        await self.abort()

    async def abort(self) -> None:
        """Ends at once; what is in hand is not committed."""
        self._draining.set()
        tasks = [task for task in (self._main, self._second, self._committer) if task]
        for task in tasks:
            task.cancel()
        # A handler may hold its cancellation up; it must not hold up the release of the partition.
        await asyncio.wait(tasks, timeout=1)

    # --- the stages --------------------------------------------------------------------------

    async def _work(self) -> None:
        while batch := await self._take():
            finish = await self._persist("first stage", partial(self._handler, batch))
            if self._second is not None:
                await self._second
            # While this second stage runs the loop takes the next batch through the first.
            self._second = asyncio.create_task(self._finish(finish, batch[-1].position))
        if self._second is not None:
            await self._second
        if self._committer is not None:
            await self._committer

    async def _take(self) -> list[Record]:
        """The next batch as soon as there is a record; empty when the worker is to end."""
        while not self._buffer and not self._draining.is_set():
            self._fed.clear()
            self._hungry = True
            await self._fed.wait()
            self._hungry = False
        if self._draining.is_set():
            return []
        buffer = self._buffer
        batch = [buffer.popleft() for _ in range(min(len(buffer), self._max_batch))]
        if len(buffer) <= 2 * self._max_batch:
            self._room.set()
        return batch

    async def _finish(self, finish: Finish | None, position: str) -> None:
        if finish is not None:
            await self._persist("second stage", finish)
        self._finished = position
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit())

    async def _commit(self) -> None:
        try:
            while self._committed != self._finished:
                position = self._finished
                await self._persist(_COMMIT, partial(self._commit_to, position))
                self._committed = position
                with suppress(TimeoutError):
                    async with asyncio.timeout(_COMMIT_INTERVAL_S):
                        await self._draining.wait()
        except PartitionLost as error:
            self._log.warning("bus.partition_lost", reason=str(error))
            self.lost = True
            self._main.cancel()
            if self._second is not None:
                self._second.cancel()

    async def _persist(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeats ``attempt`` until it succeeds. PartitionLost and being cancelled end it."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await attempt()
            except PartitionLost:
                raise
            except asyncio.CancelledError as error:
                # A call inside the handler may have been cancelled by its own library (a closed
                # gRPC channel does it): that is a failed attempt, not the end of this worker.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                cause: BaseException = error
            except Exception as error:
                cause = error
            pause_s = backoff.next_s()
            self._log.error(
                "bus.stage_failed",
                stage=what,
                error=describe(cause),
                retry_in_s=round(pause_s, 2),
                exc_info=None if what == _COMMIT else cause,
            )
            await asyncio.sleep(pause_s)
