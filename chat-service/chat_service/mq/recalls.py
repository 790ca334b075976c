"""Takes messages back for everybody: two statements for a batch, however many there are."""

from __future__ import annotations

from collections.abc import Sequence

from chat_service.model import messages
from chat_service.model.messages import Facts
from chat_service.mq.item import RecallItem
from im_common.errors import AppError, Code, not_found
from im_common.sql.db import Database


async def apply(db: Database, items: Sequence[RecallItem], window_ms: int) -> None:
    """Sets each item's seq, or its error: NOT_FOUND, PERMISSION_DENIED, NOT_GROUP_MEMBER,
    RECALL_WINDOW_PASSED. Safe to repeat."""
    async with db.read() as connection:
        found = await messages.facts(connection, {item.recall.message_id for item in items})
    to_empty: set[tuple[str, int]] = set()
    for item in items:
        message = found.get(item.recall.message_id)
        item.error = _refusal(item, message, window_ms)
        if item.error is None and message is not None:
            item.seq = message.seq
            if not message.is_recalled:
                to_empty.add((message.conversation_id, message.seq))
    if to_empty:
        async with db.write() as connection:
            await messages.empty(connection, sorted(to_empty))


def _refusal(item: RecallItem, message: Facts | None, window_ms: int) -> AppError | None:
    recall = item.recall
    if message is None or message.conversation_id != recall.conversation_id:
        return not_found("message")
    if item.is_group:
        if item.group is None:
            return not_found("group")
        if recall.user_id not in item.group.member_ids:
            return AppError(Code.NOT_GROUP_MEMBER, "only members may recall a message of a group")
        if recall.user_id in item.group.manager_ids:
            return None
    if recall.user_id != message.sender_id:
        return AppError(Code.PERMISSION_DENIED, "only its sender may recall a message")
    # Once done it stays done, and is said again to who asks again later.
    if not message.is_recalled and recall.timestamp - message.created_at > window_ms:
        return AppError(
            Code.RECALL_WINDOW_PASSED,
            f"a message can be recalled for {window_ms // 1000} seconds",
        )
    return None
