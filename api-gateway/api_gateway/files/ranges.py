"""Which part of a file a request wants (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.datastructures import Headers

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE)


class Part(NamedTuple):
    """From ``start`` to before ``end``."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """A range that begins behind the end."""


def is_known(headers: Headers, etag: str) -> bool:
    """Whether the client has it already."""
    known = headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return "*" in tags or etag in tags


def wanted_part(headers: Headers, etag: str, size: int) -> Part | None:
    """None for all of it: without a range, with several, and when it is not the file that the client
    has a part of. Raises Unsatisfiable."""
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= size or start >= end:
        raise Unsatisfiable
    return Part(start, end)
