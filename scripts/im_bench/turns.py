"""What runs in turns gave on two sides, and the ratio of each figure: the speed of a machine changes
from minute to minute, so only what two runs right after each other say of each other counts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from im_bench.report import Figures, Row

T = TypeVar("T")
# Of each figure, what it is times that of the other side, in each turn.
Ratios = dict[str, list[float]]


@dataclass
class Side:
    """What its runs gave: a value for each run, by figure."""

    name: str
    runs: list[Figures] = field(default_factory=list)


def in_turns(sides: Sequence[T], turns: int) -> Iterator[tuple[int, T]]:
    """Who is next, with the number of the turn from 1. Who comes first changes, as what follows a pause
    is quicker."""
    for turn in range(turns):
        for side in sides if turn % 2 else reversed(sides):
            yield turn + 1, side


def table(ours: Side, theirs: Side) -> tuple[list[Row], Ratios]:
    """What to print, and of each figure that both have the ratio in each turn."""
    rows = [("figure", f"{ours.name}, {theirs.name} (medians); ratio of the medians; of each turn")]
    ratios: Ratios = {}
    for name in ours.runs[0]:
        pairs = [
            (a[name], b[name])
            for a, b in zip(ours.runs, theirs.runs, strict=True)
            if name in a and b.get(name)
        ]
        if pairs:
            ratios[name] = [a / b for a, b in pairs]
            rows.append((name, _compared(pairs, ratios[name])))
    return rows, ratios


def _compared(pairs: Sequence[tuple[float, float]], ratios: Sequence[float]) -> str:
    a, b = (statistics.median(values) for values in zip(*pairs, strict=True))
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"{a:g}, {b:g}; {a / b:.2f}; {each}"
