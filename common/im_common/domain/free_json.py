"""An application's own JSON: what of it everything behind can take."""

from __future__ import annotations

import math
import re
from typing import Any

from im_common.domain.ids import MAX_ID

MAX_DEPTH = 16
# Whole numbers up to it are exact where all numbers are doubles: in a protobuf Struct.
MAX_DOUBLE = 2**53 - 1

_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def problem(value: Any, *, largest: float = MAX_ID, depth: int = MAX_DEPTH) -> str | None:
    """What is wrong with a value, as the rest of a sentence; None when nothing is. Python reads more
    than JSON has (NaN, numbers without end, half of a surrogate pair), and few readers take deep
    nesting."""
    if depth < 0:
        return f"may be nested {MAX_DEPTH} levels deep"
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, int):
        least = -largest - 1 if largest == MAX_ID else -largest
        return None if least <= value <= largest else _too_large(largest)
    if isinstance(value, float):
        return None if math.isfinite(value) else "has a number that is none"
    inner: Any = ()
    if isinstance(value, dict):
        inner = (*value, *value.values())
    elif isinstance(value, list):
        inner = value
    return next(
        filter(None, (problem(one, largest=largest, depth=depth - 1) for one in inner)), None
    )


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """A client's object: a field that is null is absent, and so is an entry of a map of ours
    (``cursors``). What is the application's own (``ext``) stays as it is."""
    present = {name: value for name, value in fields.items() if value is not None}
    if isinstance(cursors := present.get("cursors"), dict):
        present["cursors"] = {key: seq for key, seq in cursors.items() if seq is not None}
    return present


def text_problem(text: str) -> str | None:
    """JSON can say half of a surrogate pair; nothing can store it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must be valid Unicode"
    return None


def shallow(text: str) -> str:
    """The same JSON without what is in its brackets far below MAX_DEPTH, so that any reader takes it
    and ``problem`` still finds it."""
    parts: list[str] = []
    depth = begin = 0
    for match in _BRACKET.finditer(text):
        bracket = match[0]
        if bracket in "[{":
            depth += 1
            if depth == MAX_DEPTH + 3:
                parts.append(text[begin : match.end()])
        elif bracket in "]}":
            if depth == MAX_DEPTH + 3:
                begin = match.start()
            depth -= 1
    if depth < MAX_DEPTH + 3:
        parts.append(text[begin:])
    return "".join(parts)


def _too_large(largest: float) -> str:
    return (
        "has a number beyond 64 bits" if largest == MAX_ID else f"has a number beyond {largest:.0f}"
    )
