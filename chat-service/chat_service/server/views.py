"""Between the protos and what the logic speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row

from chat_service.logic.history import Bounds
from chat_service.logic.overview import OverviewItem
from chat_service.logic.sync import Delta
from chat_service.model.content import of_row
from chat_service.model.tables import GROUP, RECALLED
from im.chat.v1 import chat_pb2 as pb
from im.chat.v1.content_pb2 import Content
from im_common.domain import frames
from im_common.domain.content import Given
from im_common.domain.ids import parse_conversation
from im_common.errors import invalid


def chat(content: Content) -> frames.Chat:
    return frames.Chat(
        content=content.content,
        client_msg_id=content.client_msg_id or None,
        content_type=content.content_type or "text",
        reply_to=content.reply_to or None,
        mentions=Given.of(content).named(),
        ext=_ext(content.ext_json),
    )


def _ext(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise invalid("ext", "must be a JSON object") from None


def placed(sent: frames.Sent) -> pb.Placed:
    return pb.Placed(
        client_msg_id=sent.client_msg_id,
        message_id=sent.message_id,
        conversation_id=sent.conversation_id,
        seq=sent.seq,
        timestamp=sent.timestamp,
    )


def bounds(page: pb.Page) -> Bounds:
    return Bounds(
        before_seq=page.before_seq if page.HasField("before_seq") else None,
        after_seq=page.after_seq if page.HasField("after_seq") else None,
        around_seq=page.around_seq if page.HasField("around_seq") else None,
        limit=page.limit,
    )


def messages(rows: Sequence[Row[Any]], reader: int) -> list[pb.Message]:
    return [message(row, reader) for row in rows]


def message(row: Row[Any], reader: int) -> pb.Message:
    shown = pb.Message(
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        seq=row.seq,
        from_user_id=row.sender_id,
        timestamp=row.created_at,
        content=of_row(row, for_sender=row.sender_id == reader),
        recalled=row.status == RECALLED,
    )
    members = parse_conversation(row.conversation_id)
    if isinstance(members, int):
        shown.group_id = members
    elif members is not None:
        shown.to_user_id = members[0] if members[1] == row.sender_id else members[1]
    return shown


def conversation(listed: OverviewItem, reader: int) -> pb.Conversation:
    standing = listed.standing
    shown = pb.Conversation(
        conversation_id=standing.conversation_id,
        type="group" if standing.type == GROUP else "single",
        last_seq=standing.last_seq,
        read_seq=standing.read_seq,
        unread=standing.unread,
        pinned=standing.pinned,
        muted=standing.muted,
    )
    if listed.mentioned_seq is not None:
        shown.mentioned_seq = listed.mentioned_seq
    if listed.last_message is not None:
        shown.last_message.CopyFrom(message(listed.last_message, reader))
    return shown


def delta(found: Delta, reader: int) -> pb.ConversationDelta:
    return pb.ConversationDelta(
        conversation_id=found.standing.conversation_id,
        last_seq=found.standing.last_seq,
        read_seq=found.standing.read_seq,
        unread=found.standing.unread,
        messages=messages(found.messages, reader),
    )
