"""Who comes together goes in together."""

from __future__ import annotations

import asyncio
from collections import deque


class Cohorts:
    """As ``async with``. Who comes alone goes in at once; who comes while others are inside waits until
    these are through, and goes in with all who came meanwhile. What they then ask at the same steps of
    their way they ask by one call each (`im_common/runtime/gathering.py`); without that each step would
    gather the few who happen to be there, and the calls be the most of what a handshake costs.
    """

    def __init__(self, most: int) -> None:
        """``most``: so many go in at once."""
        self._most = most
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._inside:
            self._inside = 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._inside -= 1
        if self._inside:
            return
        while self._waiting and self._inside < self._most:
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
