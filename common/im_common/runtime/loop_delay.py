"""How long work waits for its turn on this process's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from im_common.runtime import metrics

EVERY_S = 0.1


async def delays() -> AsyncIterator[float]:
    """Sleeps for a moment, again and again: by how many seconds each sleep was too long."""
    while True:
        due = time.monotonic() + EVERY_S
        await asyncio.sleep(EVERY_S)
        yield max(0.0, time.monotonic() - due)


async def measure() -> None:
    """For ever, into the metrics."""
    async for late_s in delays():
        metrics.EVENT_LOOP_DELAY.observe(late_s)
