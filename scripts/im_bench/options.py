"""Options that several benchmarks have, and what their values may be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

# A message says its number in eight digits.
MOST = 10**8


def add_seconds(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """--seconds, in a group for what may be given instead."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--seconds", type=_seconds, default=10.0, help="how long to measure")
    return group


def whole(least: int = 1) -> Callable[[str], int]:
    """Takes a whole number from ``least`` to MOST."""

    def take(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= MOST:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least} to {MOST}, not {text!r}"
            )
        return int(text)

    return take


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return seconds
