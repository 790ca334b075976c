"""Calls that are cancelled or run into their deadline, at any moment of what they do."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from im_common.errors import AppError, Code

TIMES = 100
# By then a call is over, or nearly.
_LATEST_S = 0.03
# Shorter than any database waits for a lock.
_AT_ONCE_S = 5.0
_LONG_S = 20.0


async def cut_off(write: Callable[[int, float], Awaitable[object]]) -> None:
    """Makes a hundred calls of ``write(number, timeout_s)``, which change the same row; each is
    cancelled or given a deadline that it may not meet. The next one has its turn at once, and not when
    the garbage collector comes by.

    Raises:
        TimeoutError: the next one waits.
    """
    chance = random.Random(TIMES)
    gc.disable()
    try:
        for number in range(TIMES):
            moment_s = chance.uniform(0.001, _LATEST_S)
            if number % 2:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(_patient(write, number, _LONG_S), moment_s)
            else:
                await _patient(write, number, moment_s)
        async with asyncio.timeout(_AT_ONCE_S):
            await write(TIMES, _LONG_S)
    finally:
        gc.enable()


async def _patient(
    write: Callable[[int, float], Awaitable[object]], number: int, timeout_s: float
) -> None:
    try:
        await write(number, timeout_s)
    except AppError as error:
        if error.code is not Code.DEADLINE_EXCEEDED:
            raise
