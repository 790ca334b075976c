"""The same scenario in turns against this checkout and another commit, and the ratio of each figure.

The load and its reading are this checkout's for both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from im_bench.options import whole
from im_bench.report import Failed, Figures, Row
from im_bench.target import must, own_servers
from im_bench.turns import Ratios, Side, in_turns, table
from im_local.paths import PYTHON, ROOT
from im_local.testing import free_port_offset

# What other commits are checked out into, each with its own .venv.
FOLDER = ROOT / ".beside"


@dataclass
class Checkout(Side):
    """With what runs there."""

    root: Path = ROOT
    # The file that names its servers; None for the embedded ones.
    infra: Path | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--beside", metavar="COMMIT", help="run in turns with this commit, and compare"
    )
    parser.add_argument("--turns", type=whole(), default=5, help="runs of each with --beside")
    parser.add_argument(
        "--real",
        action="store_true",
        help="on MariaDB, Kafka, Redis and etcd, new ones; with --beside, for each side",
    )


def compare(
    scenario: Sequence[str], commit: str, turns: int, *, env: Mapping[str, str], real: bool
) -> tuple[list[Row], Ratios]:
    """The table, and of each figure the ratio in each turn.

    ``scenario`` are the words after `scripts/bench`; ``env`` is for the systems, as far as each
    knows it; ``real`` asks for MariaDB, Kafka, Redis and etcd, new ones for each side.

    Raises Failed when a commit or one of its runs cannot be had.
    """
    other = check_out(commit)
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="im-beside-")))
        sides = [Checkout("this", root=_this()), Checkout(commit, root=other)]
        for side in sides if real else []:
            # Schemas of two versions do not share a database.
            side.infra = stack.enter_context(own_servers())
        for turn, side in in_turns(sides, turns):
            known = {name: value for name, value in env.items() if _knows(side, name)}
            print(f"turn {turn}: {side.name}", file=sys.stderr, flush=True)
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
        must("rm", "-rf", str(clone))
        must("git", "clone", "-q", "--no-checkout", str(ROOT), str(clone))
        must("git", "-C", str(clone), "checkout", "-q", "--detach", name)
        clone.rename(folder)
    return folder


def _this() -> Path:
    """This checkout as the other one is, in a clone with a .venv of its own: one that has the tools of
    developers, too, makes all processes larger by 2.5 MiB and slower by some percent. Where it stands
    when it has changes that are not committed."""
    changes = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ROOT if changes.stdout else check_out("HEAD")


def _knows(side: Checkout, variable: str) -> bool:
    """Whether the setting is there in that commit: one that it does not know it takes for a mistake."""
    setting = variable.removeprefix("IM_").lower().rpartition("__")[2]
    found = subprocess.run(
        ["git", "grep", "-qiw", setting, "--", "*/config.py"], cwd=side.root, check=False
    )
    return found.returncode == 0


def _run(side: Checkout, scenario: Sequence[str], folder: Path, env: Mapping[str, str]) -> Figures:
    out = folder / "figures.json"
    with _system(side, folder, env) as ready:
        where = ["--ready", str(ready), "--json", str(out)]
        if side.infra is not None:
            where += ["--infra", str(side.infra)]
        must(PYTHON, "-P", "-m", "im_bench", *scenario, *where)
    figures: Figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    return figures


@contextmanager
def _system(side: Checkout, folder: Path, env: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="system-") as data:
        up = ["--data", data, "--port-offset", str(free_port_offset()), "--detach"]
        if side.infra is not None:
            up += ["--infra", str(side.infra)]
        must(str(side.root / "scripts/up"), *up, env=env)
        try:
            yield Path(data) / "ready.json"
        finally:
            must(str(side.root / "scripts/down"), "--data", data)
