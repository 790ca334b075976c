"""Messages."""

from __future__ import annotations

import json
import math
from typing import Any, Self

import msgspec
from pydantic import Field

from api_gateway.schemas.base import Absent, Body, Id, JsonObject, Millis, Text, View
from im.chat.v1 import chat_pb2 as pb
from im.chat.v1.content_pb2 import Content
from im_common.domain import free_json
from im_common.domain.content import Given
from im_common.domain.frames import ALL, All


class MessageBody(Body):
    """One of `to` and `group_id` says where it goes."""

    to: Id | None = Field(None, description="A user.")
    group_id: Id | None = Field(None, description="A group.")
    content: Text = Field(description="At most 16 KiB of UTF-8.")
    content_type: Text | None = Field(
        None,
        min_length=1,
        description="text, image, file, audio, video, location or custom; text when missing.",
    )
    client_msg_id: Text | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="The sender's own key: the same one never makes a second message.",
    )
    reply_to: Text | None = Field(None, min_length=1, description="A message_id.")
    mentions: list[Id | All] | All | None = Field(
        None,
        description="User ids, and all for the members of a group, by its owner or an admin; "
        'just "all" is the same as ["all"].',
    )
    ext: JsonObject | None = Field(None, description="The application's own fields.")

    def message_content(self) -> Content:
        named = [self.mentions] if isinstance(self.mentions, str) else self.mentions or ()
        return Content(
            content_type=self.content_type or "",
            content=self.content,
            client_msg_id=self.client_msg_id or "",
            reply_to=self.reply_to or "",
            mentions=[one for one in named if one != ALL],
            mentions_all=ALL in named,
            ext_json="" if self.ext is None else msgspec.json.encode(self.ext).decode(),
        )


class Sent(View):
    client_msg_id: str
    message_id: str
    conversation_id: str
    seq: int = Field(description="Its place in the conversation: 1, 2, 3, …")
    timestamp: Millis

    @classmethod
    def of(cls, placed: pb.Placed) -> Sent:
        return cls(
            client_msg_id=placed.client_msg_id,
            message_id=placed.message_id,
            conversation_id=placed.conversation_id,
            seq=placed.seq,
            timestamp=placed.timestamp,
        )


class Recalled(View):
    conversation_id: str
    seq: int
    message_id: str


class Message(View):
    """The fields of the WebSocket's `message` frame."""

    message_id: str
    conversation_id: str
    seq: int
    from_: int = Field(serialization_alias="from")
    to: Absent[int] = None
    group_id: Absent[int] = None
    content_type: str
    content: str
    timestamp: Millis
    client_msg_id: Absent[str] = Field(default=None, description="Only for the sender.")
    reply_to: Absent[str] = None
    mentions: Absent[list[int | All]] = Field(default=None, description="User ids, or all.")
    ext: Absent[dict[str, Any]] = None
    recalled: Absent[bool] = None

    @classmethod
    def of(cls, message: pb.Message) -> Self:
        content = message.content
        return cls(
            message_id=message.message_id,
            conversation_id=message.conversation_id,
            seq=message.seq,
            from_=message.from_user_id,
            to=message.to_user_id or None,
            group_id=message.group_id or None,
            content_type=content.content_type,
            content=content.content,
            timestamp=message.timestamp,
            client_msg_id=content.client_msg_id or None,
            reply_to=content.reply_to or None,
            mentions=Given.of(content).named() or None,
            ext=_ext(content.ext_json),
            recalled=message.recalled or None,
        )


def _ext(text: str) -> dict[str, Any] | None:
    """Absent when it is none that an answer can hold: no single message makes a page fail."""
    try:
        ext = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(ext, dict) or free_json.problem(ext, largest=math.inf):
        return None
    return ext
