"""Many at once, but not too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """All of them, in their order, at most ``most`` at a time."""
    for start in range(0, len(items), most):
        yield items[start : start + most]
