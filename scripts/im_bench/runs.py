"""A run of a load, undisturbed and within a time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")
# What a run may take beside the time measured.
MORE_S = 120.0


def measured(work: Coroutine[Any, Any, T], longest_s: float) -> T:
    """To its end, without the pauses of the garbage collector. Raises TimeoutError when it takes
    clearly longer than what it measures."""
    gc.freeze()
    gc.disable()
    try:
        return uvloop.run(_bounded(work, longest_s + MORE_S))
    finally:
        gc.enable()


async def _bounded(work: Coroutine[Any, Any, T], longest_s: float) -> T:
    async with asyncio.timeout(longest_s):
        return await work
