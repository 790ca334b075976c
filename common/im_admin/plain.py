"""Answers as JSON has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from google.protobuf.message import Message

from im_common.domain.paging import MAX_LIMIT

Row = dict[str, Any]
Answer = Row | list[Row]


def row(message: Message, *, without: Sequence[str] = ()) -> Row:
    """The fields of a message that has no messages in it. Whole numbers stay numbers."""
    names = (field.name for field in message.DESCRIPTOR.fields)
    return {name: getattr(message, name) for name in names if name not in without}


async def pages(
    ask: Callable[[int, str], Awaitable[tuple[Sequence[Message], str]]], most: int
) -> list[Row]:
    """So many rows of a list that comes in pages; ``ask`` takes a limit and a cursor, and gives a page
    and the next cursor."""
    rows: list[Row] = []
    cursor = ""
    while len(rows) < most:
        page, cursor = await ask(min(MAX_LIMIT, most - len(rows)), cursor)
        rows += map(row, page)
        if not cursor:
            break
    return rows
