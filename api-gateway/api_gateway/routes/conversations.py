"""/v1/conversations, /v1/unread and /v1/sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from api_gateway.routes.parts import (
    DEFAULT_LIMIT,
    ConversationIdPath,
    Cursor,
    Limit,
    SeqBound,
    Svc,
    area,
    signed_in,
)
from api_gateway.schemas.base import Page
from api_gateway.schemas.conversations import (
    Conversation,
    Delta,
    ReadBody,
    SyncAnswer,
    SyncBody,
    Unread,
)
from api_gateway.schemas.messages import Message
from im.chat.v1 import chat_pb2 as pb
from im_common.domain.ids import MAX_ID
from im_common.domain.paging import read_cursor_as, write_cursor

# Of a page; None for none.
Bound = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)] | None

router = area("/v1", tags=["conversations"], dependencies=[signed_in])


@router.get("/conversations", summary="The caller's conversations, newest activity first")
async def list_conversations(
    svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[Conversation]:
    request = pb.ListConversationsRequest(limit=limit, cursor=cursor)
    answer = await svc.chat.ListConversations(request)
    return Page(
        items=[Conversation.of(conversation) for conversation in answer.conversations],
        next_cursor=answer.next_cursor or None,
    )


@router.get(
    "/conversations/{conversation_id}/messages", summary="A page of a conversation's messages"
)
async def get_history(
    conversation_id: ConversationIdPath,
    svc: Svc,
    before_seq: SeqBound = None,
    after_seq: SeqBound = None,
    around_seq: SeqBound = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Page[Message]:
    page = pb.Page(before_seq=before_seq, after_seq=after_seq, around_seq=around_seq, limit=limit)
    if cursor:
        page = _page_at(cursor, limit)
    request = pb.GetHistoryRequest(conversation_id=conversation_id, page=page)
    answer = await svc.chat.GetHistory(request)
    messages = answer.messages
    return Page(
        items=[Message.of(message) for message in messages],
        next_cursor=_next_cursor(page, messages) if answer.has_more and messages else None,
    )


@router.post("/conversations/{conversation_id}/read", status_code=204, summary="Read up to here")
async def mark_as_read(conversation_id: ConversationIdPath, body: ReadBody, svc: Svc) -> None:
    await svc.chat.MarkAsRead(pb.MarkAsReadRequest(conversation_id=conversation_id, seq=body.seq))


@router.get("/unread", summary="How many messages are unread")
async def get_unread(svc: Svc) -> Unread:
    answer = await svc.chat.GetUnreadCount(pb.GetUnreadCountRequest())
    return Unread(total=answer.total, conversations=dict(answer.conversations))


@router.post("/sync", summary="What conversations have beyond the client's cursors")
async def sync(body: SyncBody, svc: Svc) -> SyncAnswer:
    answer = await svc.chat.Sync(pb.SyncRequest(cursors=body.cursors, limit=body.limit or 0))
    return SyncAnswer(
        conversations=[Delta.of(delta) for delta in answer.conversations],
        has_more=answer.has_more,
    )


def _page_at(cursor: str, limit: int) -> pb.Page:
    bounds = read_cursor_as(tuple[Bound, Bound], cursor)
    assert bounds is not None
    return pb.Page(before_seq=bounds[0], after_seq=bounds[1], limit=limit)


def _next_cursor(page: pb.Page, messages: Sequence[pb.Message]) -> str:
    if page.HasField("after_seq") or page.HasField("around_seq"):
        before = page.before_seq if page.HasField("before_seq") else None
        return write_cursor(before, messages[-1].seq)
    return write_cursor(messages[0].seq, None)
