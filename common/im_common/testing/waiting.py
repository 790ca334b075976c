"""Waiting for an event that is to come, with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], object | Awaitable[object]], *, within_s: float = 10.0
) -> None:
    """Returns as soon as ``condition`` gives (or its coroutine returns) something true.

    Raises:
        AssertionError: it did not within ``within_s``.
    """
    deadline = time.monotonic() + within_s
    while True:
        outcome = condition()
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        if outcome:
            return
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        await asyncio.sleep(0.02)
