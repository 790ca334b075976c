"""Trying again: the pauses between attempts, and what to say of one that failed."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from ``first_s`` to ``most_s``, each made up to a fifth shorter by chance
    so that many clients do not come back in step."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        pause_s = self._next_s
        self._next_s = min(self._most_s, pause_s * 2)
        return pause_s * random.uniform(0.8, 1.0)  # noqa: S311

    def reset(self) -> None:
        self._next_s = self._first_s


def describe(error: BaseException) -> str:
    """The kind of error and its text: the repr of redis' errors hides the text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
