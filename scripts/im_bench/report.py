"""What a benchmark says at the end."""

from __future__ import annotations

from collections.abc import Sequence

Row = tuple[str, str]


class Failed(Exception):
    """The system did not do what it was to do; there is nothing to measure."""


def print_table(rows: Sequence[Row]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def latency(seconds: Sequence[float]) -> str:
    """Percentiles, in milliseconds."""
    if not seconds:
        return "nothing measured"
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * p))] for p in (0.5, 0.99))
    return f"p50 {p50 * 1e3:.2f}, p99 {p99 * 1e3:.2f}, max {ordered[-1] * 1e3:.2f} ms"
