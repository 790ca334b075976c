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
    p50, p99, most = (value * 1e3 for value in percentiles(seconds, 0.5, 0.99, 1.0))
    return f"p50 {p50:.2f}, p99 {p99:.2f}, max {most:.2f} ms"


def percentiles(values: Sequence[float], *shares: float) -> list[float]:
    """For each share, the value that so much of them lies below."""
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in shares]
