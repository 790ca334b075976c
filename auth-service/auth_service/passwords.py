"""Password hashes: bcrypt in a bounded pool of threads, off the event loop."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import bcrypt

from im_common.errors import AppError, Code, invalid
from im_common.runtime import context

MIN_BYTES, MAX_BYTES = 8, 72
# What a refused caller is told to wait, at least.
BUSY_MS = 1_000
# What comes after a password, and needs time too: the database, the session, the way back.
AFTER_S = 0.1
# A work may take so many times what is expected.
MARGIN = 1.2
# The expectation is the average of about so many of the last ones.
MEASURED = 10

T = TypeVar("T")


def check_length(field: str, password: str) -> None:
    """INVALID_ARGUMENT unless it has 8 to 72 bytes (bcrypt takes no more)."""
    if not MIN_BYTES <= len(password.encode()) <= MAX_BYTES:
        raise invalid(field, f"must have {MIN_BYTES} to {MAX_BYTES} bytes")


class PasswordHasher:
    """Makes and checks hashes with as many threads as there are cores for this process.

    What waits for a thread is worked on in the order in which it came, and has time enough: what would
    be done only after its caller has given up is refused at once, and does not take the others' time. A
    work is expected to take what the last ones took.
    """

    def __init__(self, *, cost: int, most_waiting: int) -> None:
        self._cost = cost
        self._most_waiting = most_waiting
        self._threads = len(os.sched_getaffinity(0))
        self._busy = 0
        self._pool = ThreadPoolExecutor(
            self._threads, thread_name_prefix="bcrypt", initializer=_yield_to_the_event_loop
        )
        began = time.monotonic()
        # What the password of an account that does not exist is checked against.
        self._nobodys = bcrypt.hashpw(os.urandom(16), bcrypt.gensalt(cost)).decode()
        # Seconds that one work takes in its thread, on average.
        self._work_s = time.monotonic() - began

    async def hash(self, password: str) -> str:
        """UNAVAILABLE when it would come too late, or too many are waiting."""
        secret = password.encode()
        return await self._run(lambda: bcrypt.hashpw(secret, bcrypt.gensalt(self._cost)).decode())

    async def check(self, password: str, hashed: str | None) -> bool:
        """Whether ``password`` is the one; without a hash False, after as much work.

        Raises:
            AppError: UNAVAILABLE when it would come too late, or too many are waiting.
        """
        secret = password.encode()
        expected = (self._nobodys if hashed is None else hashed).encode()
        same = await self._run(lambda: bcrypt.checkpw(secret[:MAX_BYTES], expected))
        return same and hashed is not None and len(secret) <= MAX_BYTES

    async def _run(self, work: Callable[[], T]) -> T:
        if self._busy >= self._threads + self._most_waiting:
            raise _busy()
        # With a free thread it is tried in any case: a wrong expectation must not refuse for ever.
        deadline = _deadline() if self._busy >= self._threads else None
        if deadline is not None:
            self._refuse_late(deadline - time.monotonic())
        self._busy += 1
        try:
            # A caller that goes away takes its work out of the queue.
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._timed, work, deadline
            )
        finally:
            self._busy -= 1

    def _refuse_late(self, left_s: float) -> None:
        """Raises UNAVAILABLE when what comes now would be done in more than ``left_s``."""
        works = (self._busy - self._threads + 1) / self._threads + 1
        needed_s = MARGIN * works * self._work_s + AFTER_S
        if needed_s > left_s:
            raise _busy(after_s=needed_s - left_s)

    def _timed(self, work: Callable[[], T], deadline: float | None) -> T:
        began = time.monotonic()
        if deadline is not None and began + self._work_s > deadline:
            # Its turn came later than was expected.
            raise _busy()
        result = work()
        # Threads that do this at once lose one measurement: nothing that matters.
        self._work_s += (time.monotonic() - began - self._work_s) / MEASURED
        return result

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _deadline() -> float | None:
    """When the caller gives up, by time.monotonic()."""
    request = context.current.get()
    return request.deadline if request is not None else None


def _busy(after_s: float = 0.0) -> AppError:
    return AppError(
        Code.UNAVAILABLE,
        "too many logins at this moment",
        retry_after_ms=max(BUSY_MS, math.ceil(after_s * 1000)),
    )


def _yield_to_the_event_loop() -> None:
    # bcrypt releases the GIL but takes every core: without this the event loop, and with it all
    # other calls, would wait for a time slice. On Linux a nice value is a thread's own.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
