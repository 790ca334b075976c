"""What a sender gives of a message: checked, carried, shown.

Wherever it comes in (frame, call, route) it becomes one ``Content``, which goes through the log and the
database, and out again as part of a `message` frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import ChatRecord
from im_common.domain import frames, free_json, ids
from im_common.domain.ids import check_id
from im_common.errors import AppError, Code, invalid

MAX_EXT_BYTES = 16 * 1024
_FILE_TYPES = ("image", "file", "audio", "video")
# Field of `ext` -> least and greatest value.
_LOCATION = {"latitude": (-90, 90), "longitude": (-180, 180)}


def build_record(sender_id: int, chat: frames.Chat, address: str) -> ChatRecord:
    """Checks a message and stamps its id and time; ``address`` is where its outcome is told.

    Raises:
        AppError: INVALID_ARGUMENT that names the field, or PAYLOAD_TOO_LARGE.
    """
    # Filled in its place: a message that is put into another one is copied.
    record = ChatRecord()
    record.origin.address = address
    message = record.message
    message.message_id = ids.new_message_id()
    message.sender_id = sender_id
    message.timestamp = ids.now_ms()
    _fill(message.content, chat)
    if (chat.to is None) == (chat.group_id is None):
        raise invalid("to", "or group_id must be given, and not both")
    if chat.to is not None:
        if chat.to == sender_id:
            raise invalid("to", "must be another user")
        message.to_user_id = check_id("to", chat.to)
        message.conversation_id = ids.single_conversation(sender_id, chat.to)
    elif chat.group_id is not None:
        message.group_id = check_id("group_id", chat.group_id)
        message.conversation_id = ids.group_conversation(chat.group_id)
    if message.content.mentions_all and chat.group_id is None:
        raise invalid("mentions", "may name all only in a group")
    return record


def _fill(given: Content, chat: frames.Chat) -> None:
    """Makes a client_msg_id when there is none.

    Raises:
        AppError: INVALID_ARGUMENT that names the field, or PAYLOAD_TOO_LARGE.
    """
    given.client_msg_id = _client_msg_id(chat)
    given.content_type = _content_type(chat)
    given.content = _content(chat)
    if chat.reply_to is not None:
        given.reply_to = _reply_to(chat.reply_to)
    if chat.mentions:
        _put_mentions(given, chat.mentions)
    if chat.ext is not None:
        given.ext_json = _ext_json(chat.ext)
    check_ext(chat)


class Given(msgspec.Struct, frozen=True, gc=False):
    """What a sender has given, read from a ``Content`` once: each look into that makes new objects."""

    client_msg_id: str
    content_type: str
    content: str
    reply_to: str = ""
    mentions: Sequence[int] = ()
    mentions_all: bool = False
    ext_json: str = ""

    @classmethod
    def of(cls, content: Content) -> Given:
        mentions = content.mentions
        return cls(
            content.client_msg_id,
            content.content_type,
            content.content,
            content.reply_to,
            tuple(mentions) if mentions else (),
            content.mentions_all,
            content.ext_json,
        )

    def named(self) -> list[int | frames.All]:
        """The mentions as frames and routes have them."""
        return [frames.ALL, *self.mentions] if self.mentions_all else list(self.mentions)

    def frame(
        self,
        *,
        message_id: str,
        conversation_id: str,
        seq: int,
        from_: int,
        to: int,
        group_id: int,
        timestamp: int,
        for_sender: bool,
        recalled: bool = False,
    ) -> frames.Message:
        """``to`` or ``group_id`` is 0."""
        return frames.Message(
            message_id=message_id,
            conversation_id=conversation_id,
            seq=seq,
            from_=from_,
            content_type=self.content_type,
            content=self.content,
            timestamp=timestamp,
            to=to or UNSET,
            group_id=group_id or UNSET,
            client_msg_id=self.client_msg_id or UNSET if for_sender else UNSET,
            reply_to=self.reply_to or UNSET,
            mentions=self.named() or UNSET,
            ext=Raw(self.ext_json.encode()) if self.ext_json else UNSET,
            recalled=True if recalled else UNSET,
        )


def check_ext(chat: frames.Chat) -> None:
    """What a content type needs when the content does not say it: a file's `file_id` (and `name` and
    `size` as they should be), a place's `latitude` and `longitude` within the globe. The rest of `ext`
    is the application's own. Raises INVALID_ARGUMENT."""
    if chat.content_type == "text":
        return
    ext = chat.ext or {}
    if chat.content_type in _FILE_TYPES:
        # The content may say where it is.
        if not chat.content or ext.get("file_id") is not None:
            _check_text(ext, "file_id", 1, 128)
        if "name" in ext:
            _check_text(ext, "name", 0, 255)
        size = ext.get("size", 0)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise invalid("ext.size", "must be a number of bytes")
    elif not chat.content and not ext:
        raise invalid("content", "or ext must be given")
    elif chat.content_type == "location":
        _check_location(chat, ext)


def _check_text(ext: dict[str, Any], name: str, least: int, most: int) -> None:
    value = ext.get(name)
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise invalid(f"ext.{name}", f"must be a text of {least} to {most} characters")


def _check_location(chat: frames.Chat, ext: dict[str, Any]) -> None:
    for name, (least, greatest) in _LOCATION.items():
        value = ext.get(name)
        if value is None and chat.content:
            # The content says where.
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise invalid(f"ext.{name}", "must be a number")
        if not least <= value <= greatest:
            raise invalid(f"ext.{name}", f"must be {least} to {greatest}")


def _ext_json(ext: dict[str, Any]) -> str:
    if said := free_json.problem(ext):
        raise invalid("ext", said)
    encoded = msgspec.json.encode(ext)
    if len(encoded) > MAX_EXT_BYTES:
        raise AppError(
            Code.PAYLOAD_TOO_LARGE,
            f"ext has {len(encoded)} bytes, at most {MAX_EXT_BYTES} are taken",
            field="ext",
        )
    return encoded.decode()


def _client_msg_id(chat: frames.Chat) -> str:
    if chat.client_msg_id is None:
        return ids.new_message_id()
    if not 1 <= len(chat.client_msg_id) <= frames.MAX_CLIENT_MSG_ID:
        raise invalid("client_msg_id", f"must have 1 to {frames.MAX_CLIENT_MSG_ID} characters")
    return chat.client_msg_id


def _content_type(chat: frames.Chat) -> str:
    if chat.content_type not in frames.CONTENT_TYPES:
        raise invalid("content_type", f"must be one of {', '.join(frames.CONTENT_TYPES)}")
    return chat.content_type


def _content(chat: frames.Chat) -> str:
    if not chat.content and chat.content_type == "text":
        raise invalid("content", "must not be empty")
    # A character takes at most 4 bytes: most contents need not be encoded to be measured.
    if len(chat.content) * 4 > frames.MAX_CONTENT_BYTES:
        size = len(chat.content.encode())
        if size > frames.MAX_CONTENT_BYTES:
            raise AppError(
                Code.PAYLOAD_TOO_LARGE,
                f"content has {size} bytes, at most {frames.MAX_CONTENT_BYTES} are taken",
                field="content",
            )
    return chat.content


def _reply_to(message_id: str) -> str:
    if not ids.may_be_message_id(message_id):
        raise invalid("reply_to", "must be a message_id")
    return message_id


def _put_mentions(content: Content, given: Sequence[int | frames.All] | frames.All) -> None:
    named = [given] if isinstance(given, str) else given
    if len(named) > frames.MAX_MENTIONS:
        raise invalid("mentions", f"may name at most {frames.MAX_MENTIONS} users")
    content.mentions_all = frames.ALL in named
    users = dict.fromkeys(one for one in named if isinstance(one, int))
    content.mentions.extend(check_id("mentions", user_id) for user_id in users)
