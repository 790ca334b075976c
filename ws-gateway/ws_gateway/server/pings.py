"""Pings to all open connections, by one timer: a timer of each would cost more than the pings."""

from __future__ import annotations

import asyncio
from typing import Protocol

# One that says nothing at all between two pings is gone.
EVERY_S = 20.0
# So many times in between some of them are pinged.
_PARTS = 40


class Pinged(Protocol):
    def ping(self) -> None:
        """It is its turn."""


class Pings:
    """Each of those that were added has its turn every ``every_s``, the first time after that long."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._step_s = every_s / _PARTS
        # As ordered sets, those whose turn comes first at ``_at``.
        self._parts: list[dict[Pinged, None]] = [{} for _ in range(_PARTS)]
        self._at = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, pinged: Pinged) -> None:
        self._parts[self._at - 1][pinged] = None
        if self._timer is None:
            self._wait()

    def remove(self, pinged: Pinged) -> None:
        """Safe to repeat."""
        for part in self._parts:
            if part.pop(pinged, self) is None:
                return

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._step_s, self._next)

    def _next(self) -> None:
        part, self._at = self._parts[self._at], (self._at + 1) % _PARTS
        for pinged in list(part):
            pinged.ping()
        self._timer = None
        if any(self._parts):
            self._wait()
