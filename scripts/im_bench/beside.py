"""The same scenario in turns against this checkout and another commit, and the ratio of each figure.

The machine's speed changes from minute to minute, so a figure says little alone: only what two runs
right after each other say of each other counts. The load and its reading are this checkout's for both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from im_bench.options import whole
from im_bench.report import Failed, Figures, Row
from im_local.paths import PYTHON, ROOT
from im_local.testing import free_port_offset

# What other commits are checked out into, each with its own .venv.
FOLDER = ROOT / ".beside"


@dataclass
class Side:
    """A checkout, and what its runs gave: a value for each run, by figure."""

    name: str
    root: Path
    # The file that names its servers; None for the embedded ones.
    infra: Path | None = None
    runs: list[Figures] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--beside", metavar="COMMIT", help="run in turns with this commit, and compare"
    )
    parser.add_argument("--turns", type=whole(), default=5, help="runs of each with --beside")
    parser.add_argument(
        "--real",
        action="store_true",
        help="with --beside: on MariaDB, Kafka, Redis and etcd, new ones for each side",
    )


def compare(
    scenario: Sequence[str], commit: str, turns: int, *, env: Mapping[str, str], real: bool
) -> tuple[list[Row], dict[str, list[float]]]:
    """The table, and of each figure the ratio in each turn.

    ``scenario`` are the words after `scripts/bench`; ``env`` is for the systems, as far as each
    knows it; ``real`` asks for MariaDB, Kafka, Redis and etcd, new ones for each side.

    Raises Failed when a commit or one of its runs cannot be had.
    """
    other = check_out(commit)
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="im-beside-")))
        sides = [Side("this", ROOT), Side(commit, other)]
        for side in sides if real else []:
            side.infra = stack.enter_context(_servers(side, data))
        for turn in range(turns):
            # Who comes first changes, as what follows a pause is quicker.
            for side in sides if turn % 2 else reversed(sides):
                known = {name: value for name, value in env.items() if _knows(side, name)}
                print(f"turn {turn + 1}: {side.name}", file=sys.stderr, flush=True)
                side.runs.append(_run(side, scenario, data, known))
    return table(*sides)


def check_out(commit: str) -> Path:
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise Failed(f"--beside: this repository has no commit {commit!r}")
    name = found.stdout.strip()
    folder = FOLDER / name
    if not folder.exists():
        clone = FOLDER / f"{name}.new"
        _must("rm", "-rf", str(clone))
        _must("git", "clone", "-q", "--no-checkout", str(ROOT), str(clone))
        _must("git", "-C", str(clone), "checkout", "-q", "--detach", name)
        clone.rename(folder)
    return folder


def _knows(side: Side, variable: str) -> bool:
    """Whether the setting is there in that commit: one that it does not know it takes for a mistake."""
    setting = variable.removeprefix("IM_").lower().rpartition("__")[2]
    found = subprocess.run(
        ["git", "grep", "-qiw", setting, "--", "*/config.py"], cwd=side.root, check=False
    )
    return found.returncode == 0


def _run(side: Side, scenario: Sequence[str], folder: Path, env: Mapping[str, str]) -> Figures:
    out = folder / "figures.json"
    with _system(side, folder, env) as ready:
        where = ["--ready", str(ready), "--json", str(out)]
        if side.infra is not None:
            where += ["--infra", str(side.infra)]
        _must(PYTHON, "-P", "-m", "im_bench", *scenario, *where)
    figures: Figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    return figures


@contextmanager
def _servers(side: Side, folder: Path) -> Iterator[Path]:
    """Real servers of a side's own: schemas of two versions do not share a database."""
    # The tool is ours: an older one may not know this machine.
    data = folder / f"infra-{side.root.name}"
    infra = str(ROOT / "scripts/infra")
    _must(infra, "up", "--data", str(data), "--port-offset", str(free_port_offset()))
    try:
        yield data / "infra.yaml"
    finally:
        _must(infra, "down", "--data", str(data))


@contextmanager
def _system(side: Side, folder: Path, env: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="system-") as data:
        up = ["--data", data, "--port-offset", str(free_port_offset()), "--detach"]
        if side.infra is not None:
            up += ["--infra", str(side.infra)]
        _must(str(side.root / "scripts/up"), *up, env=env)
        try:
            yield Path(data) / "ready.json"
        finally:
            _must(str(side.root / "scripts/down"), "--data", data)


def _must(*command: str, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")


def table(ours: Side, theirs: Side) -> tuple[list[Row], dict[str, list[float]]]:
    """What to print, and of each figure that both have the ratio in each turn."""
    rows = [("figure", f"this, {theirs.name} (medians); ratio of the medians; of each turn")]
    ratios: dict[str, list[float]] = {}
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
