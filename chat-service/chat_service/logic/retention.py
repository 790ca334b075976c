"""Messages that are too old are removed, in steps so small that nobody notices."""

from __future__ import annotations

import asyncio

from chat_service.model import retention
from im_common.domain.ids import now_ms
from im_common.sql.db import Database

STEP = 500
# Between steps, for others to get at the rows.
PAUSE_S = 0.01
_PAGE = 500


async def expire_messages(db: Database, *, before_ms: int, pause_s: float = PAUSE_S) -> int:
    """Removes messages older than ``before_ms`` (Unix milliseconds) and gives their number. Each
    conversation loses its oldest ones only, up to the first that is younger; `seq` and the members'
    cursors stay. Can be ended at any time and repeated."""
    removed, last = 0, ""
    while True:
        page = await db.read(retention.conversations_after, last, _PAGE)
        if not page:
            return removed
        for conversation_id, expired_seq in page:
            removed += await _expire_one(db, conversation_id, expired_seq, before_ms, pause_s)
        last = page[-1][0]


async def _expire_one(
    db: Database, conversation_id: str, above: int, before_ms: int, pause_s: float
) -> int:
    removed, limit = 0, 1
    while True:
        found = await db.read(retention.ages, conversation_id, above, limit)
        # seq and time may disagree a little: what is behind a younger message stays with it.
        count = next((i for i, (_, at) in enumerate(found) if at >= before_ms), len(found))
        if not count:
            return removed
        upto = found[count - 1][0]
        await db.write(retention.expire, conversation_id, above, upto, now=now_ms())
        removed, above = removed + count, upto
        if count < len(found):
            return removed
        # Most conversations have nothing old: only those that have are read in large steps.
        limit = STEP
        await asyncio.sleep(pause_s)
