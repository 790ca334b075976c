"""/v1/messages: sending, recalling, searching."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from api_gateway.routes.keyed import Keyed, KeyedRoute, keyed
from api_gateway.routes.parts import Cursor, Limit, Svc, area, signed_in
from api_gateway.schemas.base import Page
from api_gateway.schemas.messages import Message, MessageBody, Recalled, Sent
from im.chat.v1 import chat_pb2 as pb
from im_common.errors import invalid

router = area("/v1/messages", route_class=KeyedRoute, tags=["messages"], dependencies=[signed_in])

SEARCH_LIMIT = 20


@router.post(
    "",
    status_code=201,
    summary="Send a message; the answer says that it is stored",
    dependencies=[keyed],
)
async def send_message(body: MessageBody, svc: Svc, attempt: Keyed) -> Sent:
    if (body.to is None) == (body.group_id is None):
        raise invalid("to", "or group_id must be given, and not both")
    content = body.message_content()
    if attempt is not None and not content.client_msg_id:
        # The same request makes no second message, though nobody knows of the first one.
        content.client_msg_id = attempt.print
    if body.group_id is not None:
        to_group = pb.SendGroupMessageRequest(group_id=body.group_id, content=content)
        return Sent.of((await svc.chat.SendGroupMessage(to_group)).placed)
    to_user = pb.SendMessageRequest(to_user_id=body.to or 0, content=content)
    return Sent.of((await svc.chat.SendMessage(to_user)).placed)


@router.post("/{message_id}/recall", summary="Take a message back for everybody")
async def recall_message(message_id: Annotated[str, Path(max_length=64)], svc: Svc) -> Recalled:
    answer = await svc.chat.RecallMessage(pb.RecallMessageRequest(message_id=message_id))
    return Recalled(conversation_id=answer.conversation_id, seq=answer.seq, message_id=message_id)


@router.get("/search", summary="Find messages in the caller's conversations")
async def search_messages(
    svc: Svc,
    q: Annotated[str, Query(min_length=1, max_length=256)],
    conversation_id: Annotated[str, Query(description="All conversations when missing.")] = "",
    limit: Limit = SEARCH_LIMIT,
    cursor: Cursor = "",
) -> Page[Message]:
    answer = await svc.chat.SearchMessages(
        pb.SearchMessagesRequest(
            query=q, conversation_id=conversation_id, limit=limit, cursor=cursor
        )
    )
    return Page(
        items=[Message.of(message) for message in answer.messages],
        next_cursor=answer.next_cursor or None,
    )
