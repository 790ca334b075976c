"""How long work waits for its turn on this process's event loop, and turns of those who can wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from im_common.runtime.loop_delay import delays

# One of those who can wait goes on for so much time that a turn of the event loop takes.
ONE_IN_S = 0.006


class Turns:
    """Measures by sleeping for a moment, again and again: ``run`` does it for ever."""

    def __init__(self) -> None:
        self.behind_ms = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Whether ``_next`` is called at the next turn of the event loop.
        self._is_called = False
        self._called_at = 0.0

    async def take(self) -> None:
        """Waits until it may go on for some milliseconds. Between two who waited here all others have
        their turn; when that takes long, more of them go on together."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if not self._is_called:
            self._is_called, self._called_at = True, time.monotonic()
            loop.call_soon(self._next)
        await future

    def _next(self) -> None:
        now = time.monotonic()
        count = 1 + int((now - self._called_at) / ONE_IN_S)
        while count and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1
        self._is_called, self._called_at = bool(self._waiting), now
        if self._is_called:
            asyncio.get_running_loop().call_soon(self._next)

    async def run(self) -> None:
        async for late_s in delays():
            self.behind_ms = int(late_s * 1000)
