"""What both producers share: a bounded buffer in call order, a deadline for each record, and a
link that is made again whenever it breaks."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from im_common.bus.interface import BusUnavailable, Linger, Settled
from im_common.runtime import metrics
from im_common.runtime.backoff import Backoff, describe
from im_common.runtime.tasks import background, end

log = structlog.get_logger(__name__)

MAX_RECORD_BYTES = 900_000
"""Key, value and headers; Kafka's own default limit is 1 MiB with its overhead."""

_START_WAIT_S = 2.0
_CLOSE_WAIT_S = 4.0
# In which consumers finish what is in the old partitions, when a topic has got more.
_SETTLE_S = 1.0
_BATCH_RECORDS = 1_000
_BATCH_BYTES = 512 * 1024
_BUFFER_BYTES = 64 * 1024 * 1024


class Outgoing(msgspec.Struct, frozen=True):
    """A record on its way; ``deadline`` is a time of the event loop."""

    key: bytes
    value: bytes
    headers: Mapping[str, bytes] | None
    size: int
    deadline: float
    linger: Linger | None
    settled: Settled


@dataclass(slots=True, eq=False)
class _Lane:
    """The records of one partition. Its task lives while there is something to send."""

    topic: str
    partition: int
    pending: deque[Outgoing] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class BatchingProducer(ABC):
    """Sends the records of each partition one batch after the other, a batch being what came in
    meanwhile: a lone record goes at once, a flood goes in hundreds, and nothing overtakes. Lanes that
    wait go together, so that they can share a request.

    A failure fails all that is buffered with BusUnavailable (the outcome of what was being sent is
    unknown, and what is behind it must not overtake the retry) and makes the link anew; records
    that the log refuses fail only those behind them in the partition.
    """

    def __init__(self, *, timeout_ms: int, buffer_records: int) -> None:
        self._timeout_s = timeout_ms / 1000
        self._buffer_records = buffer_records
        self._lanes: dict[tuple[str, int], _Lane] = {}
        # Those in use; a topic that is not among them is looked up at its next record.
        self._partition_counts: dict[str, int] = {}
        self._last_counts: dict[str, int] = {}
        self._parked: dict[str, list[Outgoing]] = {}
        self._learning: set[asyncio.Task[None]] = set()
        self._buffered = self._buffered_bytes = 0
        self._room_waiters: deque[asyncio.Future[None]] = deque()
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._backoff = Backoff(0.1, 2.0)
        self._link: asyncio.Task[None] | None = None
        self._closing = False
        # The time of the event loop; known once it has started. Not asked for each record: in Python
        # 3.11 that costs a system call.
        self._now: Callable[[], float]
        # When the last request went out (time.monotonic() seconds), and who waits for the next.
        self._went_at = 0.0
        self._turn = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    # --- what a log implements ---------------------------------------------------------------

    @abstractmethod
    async def _open(self) -> None:
        """Reaches the log, or raises in bounded time."""

    @abstractmethod
    async def _shut(self) -> None:
        """Lets go of what ``_open`` made; bounded, never raises."""

    @abstractmethod
    async def _count_partitions(self, topic: str) -> int: ...

    @abstractmethod
    def _partition_of(self, key: bytes, count: int) -> int: ...

    @abstractmethod
    async def _write(self, topic: str, partition: int, batch: list[Outgoing]) -> None:
        """Returns when all records are safe, in this order. Raises BusUnavailable when the log has
        refused them, anything else when that is not certain."""

    @abstractmethod
    async def ping(self) -> None: ...

    # --- Producer ----------------------------------------------------------------------------

    async def start(self) -> None:
        self._now = asyncio.get_running_loop().time
        # Of a process's one producer.
        metrics.BUS_BUFFERED.set_function(lambda: self._buffered)
        self._link = background(self._keep_linked(), "bus-producer")
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_WAIT_S):
                await self._connected.wait()

    def connected(self) -> bool:
        return self._connected.is_set()

    async def send(
        self, topic: str, key: bytes, value: bytes, headers: Mapping[str, bytes] | None = None
    ) -> None:
        await (await self.enqueue(topic, key, value, headers))

    async def enqueue(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, bytes] | None = None,
        *,
        linger_s: float = 0.0,
    ) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        linger = (lambda: linger_s) if linger_s else None
        room = self.put(topic, key, value, headers, linger=linger, settled=_telling(future))
        if room is not None:
            await room
        return future

    def put(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, bytes] | None = None,
        *,
        linger: Linger | None = None,
        settled: Settled,
    ) -> Awaitable[None] | None:
        size = len(key) + len(value)
        for name, content in headers.items() if headers else ():
            size += len(name) + len(content)
        if size > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {size} bytes, at most {MAX_RECORD_BYTES} are taken")
        if self._closing or not self._connected.is_set():
            raise BusUnavailable("not connected")
        deadline = self._now() + self._timeout_s
        outgoing = Outgoing(key, value, headers, size, deadline, linger, settled)
        self._buffered += 1
        self._buffered_bytes += size
        count = self._partition_counts.get(topic)
        if count is None:
            self._park(topic, outgoing)
        else:
            self._put(topic, count, outgoing)
        if self._buffered > self._buffer_records or self._buffered_bytes > _BUFFER_BYTES:
            return self._wait_for_room(deadline)
        return None

    async def close(self) -> None:
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WAIT_S):
                while self._buffered and self._connected.is_set():
                    await asyncio.wait(self._sending())
        self._break("closed")
        if self._link is not None:
            await end(self._link)
            self._link = None

    def _sending(self) -> set[asyncio.Task[None]]:
        return self._learning | {lane.task for lane in self._lanes.values() if lane.task}

    # --- into the buffer ---------------------------------------------------------------------

    def _park(self, topic: str, outgoing: Outgoing) -> None:
        """Keeps the first records of a topic, in order, until its partitions are known."""
        parked = self._parked.setdefault(topic, [])
        parked.append(outgoing)
        if len(parked) == 1:
            task = asyncio.create_task(self._learn_count(topic, outgoing.deadline))
            self._learning.add(task)
            task.add_done_callback(self._learning.discard)

    async def _learn_count(self, topic: str, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                count = await self._count_partitions(topic)
                if self._last_counts.get(topic, count) != count:
                    await self._settled(topic)
        except Exception as error:
            reason = f"topic {topic} cannot be looked up: {describe(error)}"
            log.warning("bus.topic_unknown", topic=topic, error=describe(error))
            self._settle(self._parked.pop(topic, []), reason)
        else:
            # In one step, so that no later record finds the count before these are in their lanes.
            self._partition_counts[topic] = self._last_counts[topic] = count
            for outgoing in self._parked.pop(topic, []):
                self._put(topic, count, outgoing)

    async def _settled(self, topic: str) -> None:
        """Other partitions from here on: a record must not be worked on before one with its key that
        went elsewhere."""
        lanes = [lane for lane in self._lanes.values() if lane.topic == topic]
        while sending := [lane.task for lane in lanes if lane.task]:
            await asyncio.wait(sending)
        await asyncio.sleep(_SETTLE_S)

    def _put(self, topic: str, count: int, outgoing: Outgoing) -> None:
        partition = self._partition_of(outgoing.key, count)
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
        lane.pending.append(outgoing)
        if lane.task is None:
            self._begin(lane)

    async def _wait_for_room(self, deadline: float) -> None:
        """The record is in the buffer already (that fixes its order); its caller waits, so that
        the buffer exceeds its bound by the number of waiting callers at most."""
        waiter = asyncio.get_running_loop().create_future()
        self._room_waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            raise BusUnavailable("the buffer stays full") from None
        if not self._connected.is_set():
            raise BusUnavailable("the link broke")

    # --- out of the buffer -------------------------------------------------------------------

    def _begin(self, lane: _Lane) -> None:
        lane.task = asyncio.create_task(self._send_lane(lane))
        # Also when it was cancelled before it began, and so none of its code ran.
        lane.task.add_done_callback(partial(self._lane_ended, lane))

    def _lane_ended(self, lane: _Lane, _task: asyncio.Task[None]) -> None:
        lane.task = None
        # Cancelled, and meanwhile there is a new link and a record for it.
        if lane.pending:
            self._begin(lane)

    async def _send_lane(self, lane: _Lane) -> None:
        batch: list[Outgoing] = []
        try:
            while lane.pending:
                linger = lane.pending[0].linger
                await self._take_turn(linger() if linger is not None else 0.0)
                batch = _take(lane.pending)
                # All in the batch came after its first record, so its deadline is the earliest;
                # those still pending came later again, and fail with it.
                async with asyncio.timeout_at(batch[0].deadline):
                    await self._write(lane.topic, lane.partition, batch)
                self._settle(batch, None)
                batch = []
                self._backoff.reset()
        except asyncio.CancelledError:
            self._settle(batch, "the link broke")  # another lane noticed first
        except BusUnavailable as error:
            # Refused, the link is sound. What is behind it must not overtake the retry.
            self._settle(batch, str(error))
            pending, lane.pending = list(lane.pending), deque()
            self._settle(pending, str(error))
        except Exception as error:
            reason = "not safe in time" if isinstance(error, TimeoutError) else describe(error)
            self._settle(batch, reason)
            self._break(reason)

    async def _take_turn(self, linger_s: float) -> None:
        """Waits until the last request is so long ago, or another lane goes."""
        pause_s = self._went_at + linger_s - time.monotonic()
        if pause_s > 0:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(pause_s, self._go_together)
            await self._turn.wait()
        else:
            self._go_together()
        self._went_at = time.monotonic()

    def _go_together(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turn.set()
        self._turn.clear()

    def _settle(self, batch: list[Outgoing], failure: str | None) -> None:
        error = None if failure is None else BusUnavailable(failure)
        for outgoing in batch:
            outgoing.settled(error)
        self._buffered -= len(batch)
        self._buffered_bytes -= sum(outgoing.size for outgoing in batch)
        if self._buffered <= self._buffer_records and self._buffered_bytes <= _BUFFER_BYTES:
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        while self._room_waiters:
            waiter = self._room_waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    # --- the link ----------------------------------------------------------------------------

    async def _keep_linked(self) -> None:
        try:
            while True:
                await self._link_once()
                self._broken.clear()
                self._connected.set()
                log.info("bus.producer_connected", producer=type(self).__name__)
                await self._broken.wait()
                await self._shut()
                # Without it a log that answers pings and refuses writes would make a busy loop.
                await asyncio.sleep(self._backoff.next_s())
        finally:
            self._connected.clear()
            await self._shut()

    async def _link_once(self) -> None:
        while True:
            try:
                return await self._open()
            except Exception as error:
                await self._shut()
                pause_s = self._backoff.next_s()
                log.warning(
                    "bus.producer_not_connected",
                    producer=type(self).__name__,
                    error=describe(error),
                    retry_in_s=round(pause_s, 2),
                )
                await asyncio.sleep(pause_s)

    def _break(self, reason: str) -> None:
        """Fails all that is buffered and has the link made anew. Harmless when it is down."""
        if self._connected.is_set() and not self._closing:
            log.warning("bus.producer_broken", reason=reason, buffered=self._buffered)
        self._connected.clear()
        self._partition_counts.clear()
        self._broken.set()
        for task in self._learning:
            task.cancel()
        for topic in list(self._parked):
            self._settle(self._parked.pop(topic), reason)
        for lane in self._lanes.values():
            pending, lane.pending = list(lane.pending), deque()
            self._settle(pending, reason)
            if lane.task is not None and lane.task is not asyncio.current_task():
                lane.task.cancel()
        self._wake_waiters()


def _telling(future: asyncio.Future[None]) -> Settled:
    def settled(error: BusUnavailable | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            # One for each: who raises an exception writes its own way into it.
            future.set_exception(BusUnavailable(str(error)))
            future.exception()  # a caller that has gone leaves no "never retrieved" in the log

    return settled


def _take(pending: deque[Outgoing]) -> list[Outgoing]:
    batch = [pending.popleft()]
    size = batch[0].size
    while pending and len(batch) < _BATCH_RECORDS and size + pending[0].size <= _BATCH_BYTES:
        batch.append(pending.popleft())
        size += batch[-1].size
    return batch
