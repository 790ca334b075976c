"""The WebSocket frames: JSON objects told apart by `type`.

Client frames are decoded and checked in one pass; what is wrong becomes an AppError that names the
field. Server frames are encoded where their facts are known: messages by chat-service's consumer
(once, however many receive them), the rest by ws-gateway.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from im_common.domain import free_json
from im_common.errors import AppError, Code

MAX_FRAME_BYTES = 64 * 1024
MAX_CONTENT_BYTES = 16 * 1024
MAX_CLIENT_MSG_ID = 64
MAX_MENTIONS = 100
# Of messages that tell of a change of a group; no client's.
SYSTEM = "system"
# What JSON has besides null, objects and lists.
Scalar = str | int | float | bool
# Among the mentions of a message: all members of the group.
All = Literal["all"]
ALL: All = "all"
CONTENT_TYPES = ("text", "image", "file", "audio", "video", "location", "custom")


class ClientFrame(msgspec.Struct, tag_field="type", kw_only=True):
    """Any frame from a client. An error says its ``client_msg_id`` again, if it has one."""

    client_msg_id: str | None = None


class Chat(ClientFrame, tag="chat"):
    content: str
    to: int | None = None
    group_id: int | None = None
    content_type: str = "text"
    reply_to: str | None = None
    # "all" is the same as ["all"].
    mentions: list[int | All] | All = msgspec.field(default_factory=list)
    ext: dict[str, Any] | None = None


class Ack(ClientFrame, tag="ack"):
    conversation_id: str
    seq: int


class Read(ClientFrame, tag="read"):
    conversation_id: str
    seq: int


class Recall(ClientFrame, tag="recall"):
    message_id: str


class Typing(ClientFrame, tag="typing"):
    to: int | None = None
    group_id: int | None = None


class Sync(ClientFrame, tag="sync"):
    cursors: dict[str, int] = msgspec.field(default_factory=dict)
    limit: int = 200


class OfflineAck(ClientFrame, tag="offline_ack"):
    batch_id: str


class Ping(ClientFrame, tag="ping"):
    pass


AnyClientFrame = Chat | Ack | Read | Recall | Typing | Sync | OfflineAck | Ping
CLIENT_TYPES: list[str] = [kind.__struct_config__.tag for kind in AnyClientFrame.__args__]
_decoder: msgspec.json.Decoder[AnyClientFrame] = msgspec.json.Decoder(AnyClientFrame)
_encoder = msgspec.json.Encoder()


class ServerFrame(msgspec.Struct, tag_field="type"):
    """Any frame to a client."""


class Hello(ServerFrame, tag="hello"):
    user_id: int
    session_id: str
    device_id: str
    server_time: int
    heartbeat_ms: int


class Message(ServerFrame, tag="message"):
    message_id: str
    conversation_id: str
    seq: int
    from_: int = msgspec.field(name="from")
    content_type: str
    content: str
    timestamp: int
    to: int | UnsetType = UNSET
    group_id: int | UnsetType = UNSET
    client_msg_id: str | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET
    mentions: list[int | All] | UnsetType = UNSET
    ext: Raw | UnsetType = UNSET
    # Only in what is read later: the content is empty then.
    recalled: bool | UnsetType = UNSET


class Delta(msgspec.Struct):
    """What a conversation has beyond a client's cursor."""

    conversation_id: str
    last_seq: int
    read_seq: int
    unread: int
    messages: list[Message]


class Synced(ServerFrame, tag="sync"):
    conversations: list[Delta]
    has_more: bool


class Sent(ServerFrame, tag="sent"):
    client_msg_id: str
    message_id: str
    conversation_id: str
    seq: int
    timestamp: int


class Error(ServerFrame, tag="error"):
    code: str
    message: str
    # As the client has it: what is no text either, so that it knows its frame again.
    client_msg_id: Scalar | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
    field: str | UnsetType = UNSET


class Recalled(ServerFrame, tag="recalled"):
    conversation_id: str
    seq: int
    message_id: str
    by: int


class Receipt(ServerFrame, tag="receipt"):
    conversation_id: str
    user_id: int
    delivered_seq: int
    read_seq: int


class IsTyping(ServerFrame, tag="typing"):
    conversation_id: str
    user_id: int


class Presence(ServerFrame, tag="presence"):
    user_id: int
    online: bool
    last_seen: int


class Event(ServerFrame, tag="event"):
    event_id: str
    event: str
    data: Raw
    timestamp: int


class Offline(ServerFrame, tag="offline"):
    batch_id: str
    frames: list[Raw]
    remaining: int


class Kick(ServerFrame, tag="kick"):
    reason: str


class Pong(ServerFrame, tag="pong"):
    pass


PONG = _encoder.encode(Pong())


def encode(frame: ServerFrame) -> bytes:
    return _encoder.encode(frame)


def error_frame(error: AppError, client_msg_id: Scalar | None = None) -> bytes:
    """The `error` frame for an error; ``client_msg_id`` says which message it answers."""
    return encode(
        Error(
            code=error.code.value,
            message=error.message,
            client_msg_id=UNSET if client_msg_id is None else client_msg_id,
            retry_after_ms=UNSET if error.retry_after_ms is None else error.retry_after_ms,
            field=UNSET if error.field is None else error.field,
        )
    )


def refusal(code: Code, message: str, client_msg_id: str | None, retry_after_ms: int) -> bytes:
    """The `error` frame for a message that may come again, as ``error_frame`` but quick."""
    return _encoder.encode(
        Error(code.value, message, client_msg_id or UNSET, retry_after_ms=retry_after_ms)
    )


_answer_decoder = msgspec.json.Decoder(Sent | Recalled | Error)


def decode_answer(frame: bytes) -> Sent | Recalled | AppError:
    """What a `sent`, `recalled` or `error` frame says, for those who wait without a WebSocket."""
    answer: Sent | Recalled | Error = _answer_decoder.decode(frame)
    if not isinstance(answer, Error):
        return answer
    return AppError(
        Code(answer.code),
        answer.message,
        field=None if answer.field is UNSET else answer.field,
        retry_after_ms=None if answer.retry_after_ms is UNSET else answer.retry_after_ms,
    )


class BadFrame(AppError):
    """A client frame that cannot be taken; the answer names its client_msg_id when it had one."""

    def __init__(self, message: str, field: str | None, client_msg_id: Scalar | None) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message, field=field)
        self.client_msg_id = client_msg_id


def decode(text: str) -> AnyClientFrame:
    """Decodes a client frame; a field that is null is absent. Raises BadFrame."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):  # ValidationError is one too
        return _slowly(text)


def _slowly(text: str) -> AnyClientFrame:
    """One that has null where there is no need to say so, or a BadFrame for what is wrong."""
    frame = _leniently(text)
    if frame is None:
        raise BadFrame("a frame must be one JSON object", None, None)
    present = free_json.without_nulls(frame)
    refused = _unusable(present)
    if refused is not None:
        raise refused
    try:
        taken: AnyClientFrame = msgspec.convert(present, AnyClientFrame)
    except msgspec.ValidationError as error:
        raise _explain(present, error) from None
    return taken


def _unusable(frame: dict[str, Any]) -> BadFrame | None:
    """What is wrong with an object, whatever its type demands."""
    client_msg_id = _client_msg_id(frame)
    if frame.get("type") not in CLIENT_TYPES:
        return BadFrame(f"type must be one of {', '.join(CLIENT_TYPES)}", "type", client_msg_id)
    for field, value in frame.items():
        if said := free_json.text_problem(field) or free_json.problem(value):
            named = None if free_json.text_problem(field) else field
            return BadFrame(f"{named or 'a field'} {said}", named, client_msg_id)
    return None


def _client_msg_id(frame: dict[str, Any]) -> Scalar | None:
    client_msg_id = frame.get("client_msg_id")
    if not isinstance(client_msg_id, Scalar) or free_json.problem(client_msg_id):
        return None
    return client_msg_id


def _explain(frame: dict[str, Any], error: Exception) -> BadFrame:
    """msgspec says `Expected `int`, got `str` - at `$.to``: turned into a field and a sentence."""
    client_msg_id = _client_msg_id(frame)
    problem, _, place = str(error).partition(" - at `$.")
    # Of `cursors[...]`, too.
    field = place.rstrip("`").partition("[")[0]
    if not field and "required field" in problem:
        field = problem.rpartition("field `")[2].rstrip("`")
        return BadFrame(f"{field} is missing", field, client_msg_id)
    problem = problem.replace("`", "")
    return BadFrame(f"{field}: {problem}" if field else problem, field or None, client_msg_id)


def _leniently(text: str) -> dict[str, Any] | None:
    """A JSON object, also one that says what cannot be taken; None for anything else."""
    try:
        frame = json.loads(free_json.shallow(text), parse_int=_whole)
    except ValueError:
        return None
    return frame if isinstance(frame, dict) else None


def _whole(digits: str) -> int:
    """Python refuses numbers of some thousand digits."""
    return int(digits[:30])
