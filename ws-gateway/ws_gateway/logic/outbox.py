"""What is to be sent to one client, in order: a bounded queue in front of its socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import msgspec

from im_common.runtime.tallies import Tally

# A client that takes nothing for so long is too slow.
SEND_TIMEOUT_S = 2.0
# What was queued before the end is still sent, for so long at most.
FINISH_TIMEOUT_S = 4.0
# Bytes of messages that may wait for one client, but for its newest frames: they are counted now and
# then only.
MOST_BYTES = 4 * 1024 * 1024
_COUNT_EVERY = 16
# Frames in one write, under one time limit.
BURST = 64

_SENT = Tally("im_frames_sent_total", "Frames that sockets took", "kind", ["message", "other"])


class Queued(msgspec.Struct, frozen=True, gc=False):
    frame: bytes
    # Whether it is a message, which must not be lost with the connection.
    is_message: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the gateway ends a connection."""

    code: int
    reason: str
    # Whether what is queued is still sent.
    flush: bool = True


class Outlet(Protocol):
    """A socket, as far as an outbox knows it. It calls ``flush`` when it is writable again."""

    @property
    def writable(self) -> bool:
        """Whether it is open, and nothing that was written still waits in it."""

    def write(self, texts: Iterable[bytes]) -> None: ...

    def close(self, code: int, reason: str) -> None:
        """Tells the client, and waits for its answer only so long."""

    def abort(self) -> None: ...


class Outbox:
    """What is put in goes out at the next turn of the event loop, all of it together, as far as the
    socket takes it. What it has not taken is known: it may go to the offline list."""

    __slots__ = (
        "_due",
        "_ending",
        "_loop",
        "_most",
        "_outlet",
        "_timer",
        "_too_slow",
        "_written",
        "queue",
    )

    def __init__(self, most: int, too_slow: Callable[[], None]) -> None:
        """``too_slow`` is told when the client takes nothing any more."""
        # A list: an empty deque takes ten times the memory, and nearly all are empty.
        self.queue: list[Queued] = []
        self._most = most
        self._too_slow = too_slow
        self._outlet: Outlet | None = None
        # Known with the outlet. Not asked for each frame: in Python 3.11 that costs a system call.
        self._loop: asyncio.AbstractEventLoop
        # How many at the head of the queue the socket is writing.
        self._written = 0
        self._due = False
        self._ending: Ending | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.queue)

    def attach(self, outlet: Outlet) -> None:
        """From now on it is sent there."""
        self._outlet, self._loop = outlet, asyncio.get_running_loop()
        self._soon()

    def detach(self) -> None:
        """The socket has gone."""
        self._outlet = None
        self._stop_timer()

    def put(self, item: Queued) -> bool:
        """False when it is one too many, which is kept for ``unsent`` all the same."""
        self.queue.append(item)
        if not self._due:
            self._soon()
        waiting = len(self.queue)
        return waiting <= self._most and (waiting < _COUNT_EVERY or self._has_room(waiting))

    def put_all(self, items: Sequence[Queued]) -> bool:
        """The same of several."""
        self.queue.extend(items)
        if not self._due:
            self._soon()
        waiting = len(self.queue)
        return waiting <= self._most and (waiting < _COUNT_EVERY or self._has_room(0))

    def finish(self, ending: Ending) -> None:
        """The socket is closed, after what is queued if the ending says so. What is put in later stays
        here."""
        self._ending = ending
        if self._outlet is not None:
            self._stop_timer()
            self._timer = self._loop.call_later(FINISH_TIMEOUT_S, self._outlet.abort)
            self._soon()

    def unsent(self) -> list[bytes]:
        """Messages of which it is not known that the socket took them, oldest first."""
        return [item.frame for item in self.queue if item.is_message]

    def flush(self) -> None:
        """Sends what the socket takes."""
        self._due = False
        outlet, queue, ending = self._outlet, self.queue, self._ending
        if outlet is None:
            return
        is_writable = outlet.writable
        if self._written and is_writable:
            self._forget_written()
        while queue and is_writable and (ending is None or ending.flush):
            if len(queue) <= BURST:
                outlet.write([item.frame for item in queue])
                self._written = len(queue)
            else:
                outlet.write([item.frame for item in islice(queue, BURST)])
                self._written = BURST
            is_writable = outlet.writable
            if is_writable:
                self._forget_written()
        if ending is not None:
            if not ending.flush or (not queue and is_writable):
                self._outlet = None
                outlet.close(ending.code, ending.reason)
                self._stop_timer()
        elif self._written and self._timer is None:
            self._timer = self._loop.call_later(SEND_TIMEOUT_S, self._too_slow)

    def _has_room(self, waiting: int) -> bool:
        """Whether the messages that wait are few enough in bytes."""
        if waiting % _COUNT_EVERY:
            return True
        return sum(len(item.frame) for item in self.queue if item.is_message) <= MOST_BYTES

    def _soon(self) -> None:
        if self._outlet is not None:
            self._due = True
            self._loop.call_soon(self.flush)

    def _forget_written(self) -> None:
        messages = sum([item.is_message for item in islice(self.queue, self._written)])
        _SENT.counts["message"] += messages
        _SENT.counts["other"] += self._written - messages
        del self.queue[: self._written]
        self._written = 0
        if self._ending is None:
            self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
