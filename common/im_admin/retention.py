"""How long messages are kept."""

from __future__ import annotations

from im.chat.v1.admin_pb2 import ExpireMessagesRequest, GetRetentionRequest
from im_admin.operator import Operator
from im_admin.plain import Row
from im_common.domain.ids import now_ms
from im_common.errors import AppError, Code

_DAY_MS = 24 * 3600 * 1000


async def show_retention(operator: Operator) -> Row:
    """What chat-service's settings say; 0 days stand for ever."""
    found = await (await operator.retention()).GetRetention(GetRetentionRequest())
    return {"retention_days": found.retention_days, "is_for_ever": not found.retention_days}


async def run_retention(operator: Operator, days: int | None = None) -> Row:
    """Removes messages older than so many days, or than the settings say. Can be ended at any time, and
    repeated.

    Raises:
        AppError: FAILED_PRECONDITION when messages are kept for ever.
    """
    kept_days = (await show_retention(operator))["retention_days"] if days is None else days
    if kept_days <= 0:
        problem = "--days must be given: by RetentionDays messages are kept for ever"
        raise AppError(Code.FAILED_PRECONDITION, problem, field="--days")
    before = now_ms() - kept_days * _DAY_MS
    removed, cursor = 0, ""
    service = await operator.retention()
    async with operator.deed("retention run", f"older than {kept_days} days"):
        while True:
            request = ExpireMessagesRequest(before=before, cursor=cursor)
            answer = await service.ExpireMessages(request)
            removed, cursor = removed + answer.removed, answer.next_cursor
            if not cursor:
                return {"removed": removed, "days": kept_days, "before_at": before}
