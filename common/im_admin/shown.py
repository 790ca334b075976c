"""Answers as a person reads them, and as a program does."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any
from unicodedata import east_asian_width

from im_admin.plain import Answer, Row


def as_json(answer: Answer) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=2)


def as_text(answer: Answer) -> str:
    """A table of several, or a line for each field of one; times in UTC. Several that have more in them
    than a table can hold come one after the other."""
    if isinstance(answer, dict):
        return "\n".join(_lines(answer))
    if any(isinstance(value, dict | list) for one in answer for value in one.values()):
        return "\n\n".join("\n".join(_lines(one)) for one in answer)
    return _table(answer)


def _lines(one: Row) -> Iterator[str]:
    width = max(map(len, one), default=0)
    for name, value in one.items():
        if isinstance(value, list):
            yield f"{name} ({len(value)})"
            yield from (f"  {line}" for line in _table(value).splitlines() if value)
        elif isinstance(value, dict):
            yield name
            yield from (f"  {line}" for line in _lines(value))
        elif isinstance(value, str) and "\n" in value:
            yield name
            yield from (f"  {line}" for line in value.splitlines())
        else:
            yield f"{name:<{width}}  {_cell(name, value)}".rstrip()


def _table(rows: list[Row]) -> str:
    if not rows:
        return "none"
    names = list(rows[0])
    cells = [names, *([_cell(name, one[name]) for name in names] for one in rows)]
    widths = [max(_width(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(_padded(line, widths) for line in cells)


def _padded(cells: list[str], widths: list[int]) -> str:
    columns = zip(cells, widths, strict=True)
    return "  ".join(cell + " " * (width - _width(cell)) for cell, width in columns).rstrip()


def _width(text: str) -> int:
    """In columns of a terminal: a Chinese letter takes two."""
    return sum(1 + (east_asian_width(letter) in "WF") for letter in text)


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (name == "at" or name.endswith(("_at", "_until"))):
        return when(value)
    # Names are others' texts: nothing of them moves a terminal's cursor.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def when(at_ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC; `-` for 0."""
    if not at_ms:
        return "-"
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="seconds")
