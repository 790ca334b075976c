"""Messages that are too old are removed, in steps so small that nobody notices."""

from __future__ import annotations

import asyncio
import time

from chat_service.model import retention
from im_common.domain.ids import now_ms
from im_common.domain.paging import read_cursor_as, write_cursor
from im_common.errors import invalid
from im_common.sql.db import Database

STEP = 500
# Between steps, for others to get at the rows.
PAUSE_S = 0.01
# A call may take so long, and ends with a cursor then.
WITHIN_S = 1.0
_PAGE = 500


async def expire_page(db: Database, *, before_ms: int, cursor: str) -> tuple[int, str]:
    """Removes messages older than ``before_ms`` (Unix milliseconds), of some conversations: how many,
    and the cursor of the next ones (empty when these were the last). Each conversation loses its
    oldest ones only, up to the first that is younger; `seq` and the members' cursors stay. Can be
    ended at any time and repeated.

    Raises:
        AppError: INVALID_ARGUMENT: a bound that would take away what is new, no cursor.
    """
    if not 0 < before_ms <= now_ms():
        raise invalid("before", "must be a time that has passed, in Unix milliseconds")
    (last,) = read_cursor_as(tuple[str], cursor) or ("",)
    removed, until = 0, time.monotonic() + WITHIN_S
    while page := await db.read(retention.conversations_after, last, _PAGE):
        for conversation_id, expired_seq in page:
            count, is_done = await _expire_one(db, conversation_id, expired_seq, before_ms, until)
            removed += count
            if not is_done:
                return removed, write_cursor(last)
            last = conversation_id
        if time.monotonic() > until:
            return removed, write_cursor(last)
    return removed, ""


async def _expire_one(
    db: Database, conversation_id: str, above: int, before_ms: int, until: float
) -> tuple[int, bool]:
    """How many were removed, and whether that was all, before time.monotonic() was ``until``."""
    removed, limit = 0, 1
    while True:
        found = await db.read(retention.ages, conversation_id, above, limit)
        # seq and time may disagree a little: what is behind a younger message stays with it.
        count = next((i for i, (_, at) in enumerate(found) if at >= before_ms), len(found))
        if not count:
            return removed, True
        upto = found[count - 1][0]
        await db.write(retention.expire, conversation_id, above, upto, now=now_ms())
        removed, above = removed + count, upto
        if count < len(found):
            return removed, True
        if time.monotonic() > until:
            return removed, False
        # Most conversations have nothing old: only those that have are read in large steps.
        limit = STEP
        await asyncio.sleep(PAUSE_S)
