"""What operators have done: noted before it is done, with what became of it afterwards."""

from __future__ import annotations

import re

from auth_service.model import deeds
from auth_service.model.deeds import (
    MAX_ACTION,
    MAX_OUTCOME,
    MAX_REASON,
    MAX_TARGET,
    MAX_WHO,
    Deed,
)
from auth_service.svc import ServiceContext
from im_common.domain.ids import now_ms
from im_common.domain.names import clean_text
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import invalid

_PLAIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_ -]*")


async def begin_deed(
    svc: ServiceContext, *, who: str, action: str, target: str, reason: str
) -> int:
    """Its id. INVALID_ARGUMENT for a text that is missing, or too long."""
    clean_text("who", who, least=1, most=MAX_WHO)
    clean_text("target", target, most=MAX_TARGET)
    clean_text("reason", reason, most=MAX_REASON)
    _check_plain("action", action, MAX_ACTION)
    return await svc.db.write(
        deeds.add, who=who, action=action, target=target, reason=reason, at=now_ms()
    )


async def end_deed(svc: ServiceContext, deed_id: int, outcome: str) -> None:
    """The first outcome counts. INVALID_ARGUMENT."""
    _check_plain("outcome", outcome, MAX_OUTCOME)
    await svc.db.write(deeds.end, deed_id, outcome)


async def list_deeds(
    svc: ServiceContext, *, who: str, target: str, action: str, limit: int, cursor: str
) -> tuple[list[Deed], str]:
    """A page, newest first, and the cursor of the next one (empty when this is the last)."""
    size = page_limit(limit)
    (below,) = read_cursor(cursor, 1) or (None,)
    wanted = {"who": who, "target": target, "action": action}
    found = await svc.db.read(deeds.page, wanted, below=below, limit=size + 1)
    page = found[:size]
    return page, write_cursor(page[-1].deed_id) if len(found) > size else ""


def _check_plain(field: str, text: str, most: int) -> None:
    if len(text) > most or not _PLAIN.fullmatch(text):
        raise invalid(field, f"must be 1 to {most} of letters, digits, spaces, _ and -")
