"""ChatService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row

from chat_service.logic import cursors, history, send
from chat_service.logic.cursors import Move
from chat_service.logic.history import Bounds
from chat_service.svc import ServiceContext
from im.chat.v1 import chat_pb2 as pb
from im.chat.v1.chat_pb2_grpc import ChatServiceServicer
from im_common import frames
from im_common.context import identity
from im_common.errors import invalid
from im_common.ids import parse_conversation


class ChatServicer(ChatServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def SendMessage(self, request: pb.SendMessageRequest, _: Any) -> pb.SendMessageResponse:
        chat = _chat(request.content)
        chat.to = request.to_user_id
        sent = await send.send_message(self._svc, identity().user_id, chat)
        return pb.SendMessageResponse(placed=_placed(sent))

    async def SendGroupMessage(
        self, request: pb.SendGroupMessageRequest, _: Any
    ) -> pb.SendGroupMessageResponse:
        chat = _chat(request.content)
        chat.group_id = request.group_id
        sent = await send.send_message(self._svc, identity().user_id, chat)
        return pb.SendGroupMessageResponse(placed=_placed(sent))

    async def GetChatHistory(
        self, request: pb.GetChatHistoryRequest, _: Any
    ) -> pb.GetChatHistoryResponse:
        rows, more = await history.get_chat_history(
            self._svc, identity().user_id, request.user_id, _bounds(request.page)
        )
        return pb.GetChatHistoryResponse(messages=_messages(rows), has_more=more)

    async def GetGroupHistory(
        self, request: pb.GetGroupHistoryRequest, _: Any
    ) -> pb.GetGroupHistoryResponse:
        rows, more = await history.get_group_history(
            self._svc, identity().user_id, request.group_id, _bounds(request.page)
        )
        return pb.GetGroupHistoryResponse(messages=_messages(rows), has_more=more)

    async def AckMessage(self, request: pb.AckMessageRequest, _: Any) -> pb.AckMessageResponse:
        user_id = identity().user_id
        await cursors.ack_message(self._svc, user_id, request.conversation_id, request.seq)
        return pb.AckMessageResponse()

    async def MarkAsRead(self, request: pb.MarkAsReadRequest, _: Any) -> pb.MarkAsReadResponse:
        user_id = identity().user_id
        read = await cursors.mark_as_read(self._svc, user_id, request.conversation_id, request.seq)
        return pb.MarkAsReadResponse(read_seq=read)

    async def AdvanceCursors(
        self, request: pb.AdvanceCursorsRequest, _: Any
    ) -> pb.AdvanceCursorsResponse:
        moves = [
            Move(m.user_id, m.conversation_id, m.delivered_seq, m.read_seq, m.connection_id)
            for m in request.moves
        ]
        refused = await cursors.advance_cursors(self._svc, moves, request.gateway)
        return pb.AdvanceCursorsResponse(
            refusals=[
                pb.CursorRefusal(
                    user_id=user_id, conversation_id=on, code=error.code, message=error.message
                )
                for (user_id, on), error in refused.items()
            ]
        )


def _chat(content: pb.Content) -> frames.Chat:
    return frames.Chat(
        content=content.content,
        client_msg_id=content.client_msg_id or None,
        content_type=content.content_type or "text",
        reply_to=content.reply_to or None,
        mentions=list(content.mentions),
        ext=_ext(content.ext_json),
    )


def _ext(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise invalid("ext_json", "must be a JSON object") from None


def _placed(sent: frames.Sent) -> pb.Placed:
    return pb.Placed(
        client_msg_id=sent.client_msg_id,
        message_id=sent.message_id,
        conversation_id=sent.conversation_id,
        seq=sent.seq,
        timestamp=sent.timestamp,
    )


def _bounds(page: pb.Page) -> Bounds:
    return Bounds(page.before_seq, page.after_seq, page.around_seq, page.limit)


def _messages(rows: list[Row[Any]]) -> list[pb.Message]:
    reader = identity().user_id
    return [_message(row, reader) for row in rows]


def _message(row: Row[Any], reader: int) -> pb.Message:
    message = pb.Message(
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        seq=row.seq,
        from_user_id=row.sender_id,
        content_type=row.content_type,
        content=row.content,
        timestamp=row.created_at,
        client_msg_id=row.client_msg_id if row.sender_id == reader else "",
        reply_to=row.reply_to or "",
        mentions=msgspec.json.decode(row.mentions) if row.mentions else (),
        ext_json=row.ext or "",
    )
    members = parse_conversation(row.conversation_id)
    if isinstance(members, int):
        message.group_id = members
    elif members is not None:
        message.to_user_id = members[0] if members[1] == row.sender_id else members[1]
    return message
