"""Ticks of the kernel's clock. An event loop's own timers count whole milliseconds and come one or
two late, which would be counted as the latency of what is measured."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import AsyncGenerator

_CLOCK_MONOTONIC = 1
_NONBLOCK = os.O_NONBLOCK
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Interval(ctypes.Structure):
    _fields_ = (("every", _Timespec), ("first", _Timespec))


async def ticks(every_s: float) -> AsyncGenerator[None, None]:
    """For ever, once each ``every_s`` (below 1 s); those that were missed come as one. Linux."""
    loop, tick = asyncio.get_running_loop(), asyncio.Event()
    span = _Timespec(0, int(every_s * 1e9))
    timer = _libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
    if timer < 0 or _libc.timerfd_settime(timer, 0, ctypes.byref(_Interval(span, span)), None):
        raise OSError(ctypes.get_errno(), "no timer")

    def take() -> None:
        os.read(timer, 8)
        tick.set()

    loop.add_reader(timer, take)
    try:
        while True:
            await tick.wait()
            tick.clear()
            yield
    finally:
        loop.remove_reader(timer)
        os.close(timer)
