"""Password hashes: bcrypt in a bounded pool of threads, off the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import bcrypt

from im_common.errors import AppError, Code, invalid

MIN_BYTES, MAX_BYTES = 8, 72
# What a refused caller is told to wait.
BUSY_MS = 1_000

T = TypeVar("T")


def check_length(field: str, password: str) -> None:
    """INVALID_ARGUMENT unless it has 8 to 72 bytes (bcrypt takes no more)."""
    if not MIN_BYTES <= len(password.encode()) <= MAX_BYTES:
        raise invalid(field, f"must have {MIN_BYTES} to {MAX_BYTES} bytes")


class PasswordHasher:
    """Makes and checks hashes with as many threads as there are cores for this process."""

    def __init__(self, *, cost: int, most_waiting: int) -> None:
        self._cost = cost
        self._most_waiting = most_waiting
        self._threads = len(os.sched_getaffinity(0))
        self._busy = 0
        self._pool = ThreadPoolExecutor(
            self._threads, thread_name_prefix="bcrypt", initializer=_yield_to_the_event_loop
        )
        # What the password of an account that does not exist is checked against.
        self._nobodys = bcrypt.hashpw(os.urandom(16), bcrypt.gensalt(cost)).decode()

    async def hash(self, password: str) -> str:
        """UNAVAILABLE when too many are waiting."""
        secret = password.encode()
        return await self._run(lambda: bcrypt.hashpw(secret, bcrypt.gensalt(self._cost)).decode())

    async def check(self, password: str, hashed: str | None) -> bool:
        """Whether ``password`` is the one; without a hash False, after as much work.

        Raises:
            AppError: UNAVAILABLE when too many are waiting.
        """
        secret = password.encode()
        expected = (self._nobodys if hashed is None else hashed).encode()
        same = await self._run(lambda: bcrypt.checkpw(secret[:MAX_BYTES], expected))
        return same and hashed is not None and len(secret) <= MAX_BYTES

    async def _run(self, work: Callable[[], T]) -> T:
        if self._busy >= self._threads + self._most_waiting:
            raise AppError(
                Code.UNAVAILABLE, "too many logins at this moment", retry_after_ms=BUSY_MS
            )
        self._busy += 1
        try:
            # A caller that goes away takes its work out of the queue.
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._busy -= 1

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _yield_to_the_event_loop() -> None:
    # bcrypt releases the GIL but takes every core: without this the event loop, and with it all
    # other calls, would wait for a time slice. On Linux a nice value is a thread's own.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
