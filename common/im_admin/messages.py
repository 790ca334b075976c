"""What people wrote in a conversation that somebody has reported."""

from __future__ import annotations

from typing import Any

from im.chat.v1.admin_pb2 import ReadConversationRequest
from im.chat.v1.chat_pb2 import Message
from im_admin.accounts import get_user
from im_admin.operator import Operator
from im_admin.plain import Row
from im_common.domain.ids import group_conversation, parse_conversation, single_conversation
from im_common.errors import invalid

READ = "messages read"


async def find_conversation(operator: Operator, named: str) -> str:
    """The id of `s:1001:1002` or `g:7`, or of two users, by ids or usernames with a space in
    between. INVALID_ARGUMENT, NOT_FOUND."""
    users = named.split()
    if len(users) == 2:
        first, second = [(await get_user(operator, user))["user_id"] for user in users]
        if first != second:
            return single_conversation(first, second)
    found = parse_conversation(named.strip())
    if isinstance(found, int):
        return group_conversation(found)
    if found is None:
        raise invalid("CONVERSATION", "must be s:A:B, g:G, or two users")
    return single_conversation(*found)


async def read_messages(
    operator: Operator, conversation: str, reason: str, *, before: int = 0, most: int = 50
) -> Row:
    """A page of at most 100, oldest first, below the seq ``before`` (0: the newest). Who reads and why
    is in the audit log before anything is read; each page is a deed of its own.

    Raises:
        AppError: INVALID_ARGUMENT, also without a reason; NOT_FOUND when nobody has written there.
    """
    if not reason.strip():
        raise invalid("reason", "must say why they are read")
    conversation_id = await find_conversation(operator, conversation)
    async with operator.deed(READ, f"conversation {conversation_id}", reason.strip()):
        request = ReadConversationRequest(
            conversation_id=conversation_id, before_seq=before, limit=most
        )
        answer = await (await operator.reports()).ReadConversation(request)
    return {
        "conversation_id": conversation_id,
        "has_more": answer.has_more,
        "messages": [_shown(message) for message in answer.messages],
    }


def _shown(message: Message) -> dict[str, Any]:
    return {
        "seq": message.seq,
        "at": message.timestamp,
        "from": message.from_user_id,
        "type": message.content.content_type,
        "content": message.content.content,
        "recalled": message.recalled,
    }
