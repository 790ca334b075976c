"""Noticing a client that hands nothing out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

P = TypeVar("P")


class Stuck(Exception):
    """There are records, somebody waits for them, and the client does not hand them out."""


class Standstill(Generic[P]):
    def __init__(self, most_checks: int) -> None:
        self._most_checks = most_checks
        # For each partition that waits in spite of records: where, and for how many checks.
        self._still: dict[P, tuple[int, int]] = {}

    def check(self, places: Mapping[P, int], ends: Mapping[P, int]) -> None:
        """``places`` are the next offsets of the partitions whose records are waited for.

        Raises:
            Stuck: one has been at the same place, before its end, in ``most_checks`` checks in a row.
        """
        before, self._still = self._still, {}
        for partition, place in places.items():
            if ends[partition] <= place:
                continue
            where, checks = before.get(partition, (place, 0))
            checks = checks + 1 if where == place else 1
            self._still[partition] = (place, checks)
            if checks >= self._most_checks:
                raise Stuck(f"{partition} at {place}, the end is {ends[partition]}")
