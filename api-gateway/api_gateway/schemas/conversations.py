"""Conversations, unread counts and sync."""

from __future__ import annotations

from pydantic import Field

from api_gateway.schemas.base import Absent, Body, Seq, Text, View
from api_gateway.schemas.messages import Message
from im.chat.v1 import chat_pb2 as pb
from im_common.domain.call_limits import MOST_CURSORS, MOST_SYNCED


class ReadBody(Body):
    seq: Seq = Field(description="Read up to here.")


class SyncBody(Body):
    cursors: dict[Text, Seq] = Field(
        {},
        max_length=MOST_CURSORS,
        description="conversation_id to the last seq that the client has.",
    )
    limit: int | None = Field(None, ge=1, le=MOST_SYNCED, description="Messages in all; 200.")


class Conversation(View):
    conversation_id: str
    type: str = Field(description="single or group.")
    last_seq: int
    read_seq: int
    unread: int
    last_message: Message | None
    pinned: bool
    muted: bool
    mentioned_seq: Absent[int] = Field(
        default=None, description="The oldest unread message that mentions the user."
    )

    @classmethod
    def of(cls, conversation: pb.Conversation) -> Conversation:
        last = conversation.last_message
        return cls(
            conversation_id=conversation.conversation_id,
            type=conversation.type,
            last_seq=conversation.last_seq,
            read_seq=conversation.read_seq,
            unread=conversation.unread,
            last_message=Message.of(last) if conversation.HasField("last_message") else None,
            pinned=conversation.pinned,
            muted=conversation.muted,
            mentioned_seq=conversation.mentioned_seq
            if conversation.HasField("mentioned_seq")
            else None,
        )


class Unread(View):
    total: int
    conversations: dict[str, int]


class Delta(View):
    conversation_id: str
    last_seq: int
    read_seq: int
    unread: int
    messages: list[Message] = Field(description="In ascending seq.")

    @classmethod
    def of(cls, delta: pb.ConversationDelta) -> Delta:
        return cls(
            conversation_id=delta.conversation_id,
            last_seq=delta.last_seq,
            read_seq=delta.read_seq,
            unread=delta.unread,
            messages=[Message.of(message) for message in delta.messages],
        )


class SyncAnswer(View):
    conversations: list[Delta]
    has_more: bool
