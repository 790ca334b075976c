"""Finding messages by their text.

There is no index of words: writing a message costs nothing for it. A search looks through the user's
own messages, a bounded number for each page, by the primary key; the newest come first among as many
as one look covers, which for most users are all they have. Words are parts of texts, so Chinese needs
no splitting. See docs/messages.md for how it grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row

from chat_service.logic import membership
from chat_service.model import members, overview, search
from chat_service.model.overview import Standing
from chat_service.model.search import Stretch
from chat_service.svc import ServiceContext
from im_common.domain.paging import Ascii, Int64, page_limit, read_cursor_as, write_cursor
from im_common.errors import invalid

# Messages that one page looks through at most.
MOST_SCANNED = 50_000
DEFAULT_LIMIT = 20
MOST_CHARACTERS = 256
MOST_WORDS = 8


class _Start(NamedTuple):
    """Where a page begins: a conversation, a seq in it (0: its end), and the last message found
    in the stretch that begins there (empty: none)."""

    conversation_id: str = ""
    upto: int = 0
    message_id: str = ""


async def search_messages(
    svc: ServiceContext, user_id: int, text: str, conversation_id: str, *, limit: int, cursor: str
) -> tuple[list[Row[Any]], str]:
    """Messages with all words of ``text`` (of more than eight: the first ones), and the cursor of the
    next page. A page may have few or none while there is a next one: what it looked through had no
    more.

    Raises:
        AppError: INVALID_ARGUMENT; PERMISSION_DENIED, NOT_GROUP_MEMBER or NOT_FOUND for a
            conversation that is not the user's.
    """
    words = _words(text)
    size = page_limit(limit, default=DEFAULT_LIMIT)
    values = read_cursor_as(tuple[Ascii, Int64, Ascii], cursor)
    start = _Start() if values is None else _Start(*values)
    standings = await _standings(svc, user_id, conversation_id)
    stretch, following = _stretch(standings, start)
    if stretch is None:
        return [], ""
    rows = await svc.db.read(
        search.find, user_id, stretch, words, before_id=start.message_id, limit=size + 1
    )
    if len(rows) > size:
        return rows[:size], write_cursor(
            start.conversation_id, start.upto, rows[size - 1].message_id
        )
    return rows, "" if following is None else write_cursor(*following)


def _words(text: str) -> list[str]:
    words = text.split()
    if not words or len(text) > MOST_CHARACTERS:
        raise invalid("query", f"must have a word, and at most {MOST_CHARACTERS} characters")
    return words[:MOST_WORDS]


async def _standings(svc: ServiceContext, user_id: int, conversation_id: str) -> list[Standing]:
    """By id: only that stays the same from page to page, whatever is written meanwhile."""
    if not conversation_id:
        found: Sequence[Standing] = await svc.db.read(overview.of_user, user_id)
    else:
        key = (user_id, conversation_id)
        rows = await svc.db.read(members.positions, [key])
        await membership.check(svc, user_id, conversation_id, rows.get(key))
        one = await svc.db.read(overview.one, user_id, conversation_id)
        found = [] if one is None else [one]
    return sorted(s for s in found if s.left_seq is None)


def _stretch(standings: Sequence[Standing], start: _Start) -> tuple[Stretch | None, _Start | None]:
    """As many conversations as may be looked through at once, or a part of a long one; and where
    the next stretch starts."""
    rest = [s for s in standings if s.conversation_id >= start.conversation_id]
    if not rest:
        return None, None
    first = rest[0]
    upto = start.upto if start.upto and first.conversation_id == start.conversation_id else 0
    bottom = (upto or first.last_seq) - MOST_SCANNED
    if upto or bottom > first.hidden_seq:
        part = Stretch(first.conversation_id, first.conversation_id, max(bottom, 0), upto)
        if bottom > first.hidden_seq:
            return part, _Start(first.conversation_id, bottom)
        return part, _Start(rest[1].conversation_id) if len(rest) > 1 else None
    room = MOST_SCANNED
    last = first
    for standing in rest:
        room -= max(0, standing.last_seq - standing.hidden_seq)
        if room < 0:
            stretch = Stretch(first.conversation_id, last.conversation_id)
            return stretch, _Start(standing.conversation_id)
        last = standing
    return Stretch(first.conversation_id, last.conversation_id), None
