"""What a benchmark says at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = tuple[str, str]
# By name: the row's, and what the number is.
Figures = dict[str, float]

_FIGURE = re.compile(
    r"\b(?P<before>p[0-9.]+|max) (?P<latency>[0-9.]+)"
    r"|(?P<number>[0-9.]+)(?P<after>% of a core| a second| KiB| MiB| ms CPU each 1,000)"
)


class Failed(Exception):
    """The system did not do what it was to do; there is nothing to measure."""


def print_table(rows: Sequence[Row]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def figures(rows: Sequence[Row]) -> Figures:
    """The numbers of a table that have a unit or are percentiles. Of several with one unit in a row the
    last one counts: of memory, what it was at the end."""
    found: Figures = {}
    for name, text in rows:
        for match in _FIGURE.finditer(text):
            unit = match["before"] or match["after"].strip()
            found[f"{name.strip()}: {unit}"] = float(match["latency"] or match["number"])
    return found


def write_json(
    path: Path, head: Sequence[Row], rows: Sequence[Row], turns: Mapping[str, Sequence[float]]
) -> None:
    """The table as it is printed, and the figures of its ``rows``, or of a comparison the ratios of its
    turns."""
    text = {name.strip(): value for name, value in [*head, *rows]}
    content = {"rows": text, **({"ratios": turns} if turns else {"figures": figures(rows)})}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def latency(seconds: Sequence[float]) -> str:
    """Percentiles, in milliseconds."""
    if not seconds:
        return "nothing measured"
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    values = zip(shares, percentiles(seconds, *shares.values()), strict=True)
    return ", ".join(f"{name} {value * 1e3:.2f}" for name, value in values) + " ms"


def percentiles(values: Sequence[float], *shares: float) -> list[float]:
    """For each share, the value that so much of them lies below."""
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in shares]
