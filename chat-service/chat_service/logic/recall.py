"""Taking messages back: a record like a message's, so that it has its place in the order."""

from __future__ import annotations

from chat_service.logic.send import submit
from chat_service.model import messages
from chat_service.svc import ServiceContext
from im.chat.v1.record_pb2 import ChatRecord, Origin, Recall
from im_common.domain import frames
from im_common.domain.ids import now_ms, parse_conversation
from im_common.errors import AppError, Code, not_found


async def recall_message(svc: ServiceContext, user_id: int, message_id: str) -> frames.Recalled:
    """Answers when the message is gone for everybody; a second time does no harm.

    Raises:
        AppError: NOT_FOUND, PERMISSION_DENIED, NOT_GROUP_MEMBER, RECALL_WINDOW_PASSED; UNAVAILABLE
            when the outcome is not known in time.
    """
    found = (await svc.db.read(messages.facts, {message_id})).get(message_id)
    if found is None:
        raise not_found("message")
    members = parse_conversation(found.conversation_id)
    if isinstance(members, tuple) and user_id not in members:
        raise AppError(Code.PERMISSION_DENIED, "only its sender may recall a message")
    recall = Recall(
        message_id=message_id,
        conversation_id=found.conversation_id,
        user_id=user_id,
        timestamp=now_ms(),
    )

    def record(address: str) -> ChatRecord:
        return ChatRecord(origin=Origin(address=address), recall=recall)

    answer = await submit(svc, record)
    assert isinstance(answer, frames.Recalled)
    return answer
