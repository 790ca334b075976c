"""How long work waits for its turn on this process's event loop."""

from __future__ import annotations

import asyncio
import time

EVERY_S = 0.1


class Turns:
    """Measures by sleeping for a moment, again and again: ``run`` does it for ever."""

    def __init__(self) -> None:
        self.behind_ms = 0

    async def run(self) -> None:
        while True:
            due = time.monotonic() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.behind_ms = max(0, int((time.monotonic() - due) * 1000))
