"""How long to wait before a part that is away is tried again."""

from __future__ import annotations

import random


class Pauses:
    """Seconds that double from ``first_s`` to ``longest_s``, each spread by a quarter.

    The spread keeps the instances of a service from coming all at once after an outage.
    """

    def __init__(self, first_s: float = 0.1, longest_s: float = 2.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next(self) -> float:
        pause_s = self._next_s
        self._next_s = min(self._longest_s, pause_s * 2)
        return pause_s * random.uniform(0.75, 1.25)  # noqa: S311 (no secret)

    def reset(self) -> None:
        self._next_s = self._first_s
