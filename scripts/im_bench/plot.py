"""The figures of a run as a picture (SVG)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from im_bench.report import Failed, Figures

_OF_A_PROCESS = re.compile(r"^(?!processes: ).*: (MiB|ms CPU each 1,000)$")
_PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")


def check(path: Path) -> None:
    """Raises Failed when there will be no picture, before the time for a run is spent."""
    _library()
    if not path.parent.is_dir():
        raise Failed(f"--plot {path}: there is no folder {path.parent}")


def latencies(path: Path, title: str, figures: Figures) -> None:
    """A line for each row of the table that has percentiles."""
    chart = _library().Line(
        title=title, x_title="percentile", y_title="ms", logarithmic=True, style=_style(), js=()
    )
    chart.x_labels = _PERCENTILES
    names = dict.fromkeys(key.rpartition(": ")[0] for key in figures if key.endswith(": p50"))
    for name in names:
        chart.add(name, [figures.get(f"{name}: {at}") or None for at in _PERCENTILES])
    chart.render_to_file(str(path))


def ratios(path: Path, title: str, turns: Mapping[str, Sequence[float]]) -> None:
    """Of each figure, how much of the other side's it was in each turn; not of single processes."""
    turns = {name: found for name, found in turns.items() if not _OF_A_PROCESS.search(name)}
    library = _library()
    chart = library.HorizontalBar(
        title=title,
        x_title="times that of the other; a bar for each turn",
        height=120 + 60 * len(turns),
        show_legend=False,
        style=_style(library.style.Style(colors=["#1a73e8"] * 20)),
        js=(),
    )
    # From below to above.
    names = list(turns)[::-1]
    chart.x_labels = names
    for turn in zip_longest(*(turns[name] for name in names)):
        chart.add("", list(turn))
    chart.render_to_file(str(path))


def _style(style: Any = None) -> Any:
    style = style or _library().style.Style()
    style.background = style.plot_background = "white"
    return style


def _library() -> Any:
    try:
        import pygal
        import pygal.style
    except ImportError:
        raise Failed("--plot needs what `scripts/bootstrap dev` installs") from None
    return pygal
