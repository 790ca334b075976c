"""A record of the batch on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chat_service.model.messages import Place
from im.chat.v1.record_pb2 import ChatRecord, NewMessage, Origin
from im_common.bus import Record
from im_common.errors import AppError


class Poison(Exception):
    """A record that can never be worked on, and why."""


@dataclass(slots=True)
class Item:
    """A message and what became of it: a place, or an error for its sender."""

    record: Record
    message: NewMessage
    origin: Origin
    place: Place | None = None
    error: AppError | None = None
    # Members of the group at the time of the batch; empty for a single conversation.
    group_members: Sequence[int] = ()

    @property
    def key(self) -> tuple[int, str]:
        """What tells a retry from a new message."""
        return self.message.sender_id, self.message.client_msg_id

    @property
    def is_group(self) -> bool:
        return self.message.WhichOneof("target") == "group_id"

    @property
    def to_deliver(self) -> bool:
        """Whether receivers get it: also when the record comes a second time (it may have been
        stored, but not delivered, before a crash), but not for a client's retry of a message that
        has its place already under another message_id."""
        return self.place is not None and self.place.message_id == self.message.message_id


def decode(record: Record) -> Item:
    """Raises Poison."""
    try:
        parsed = ChatRecord.FromString(record.value)
    except Exception as error:  # protobuf raises its own DecodeError, and others
        raise Poison(f"cannot be decoded: {error}") from None
    if parsed.WhichOneof("body") != "message":
        raise Poison(f"nobody works on a {parsed.WhichOneof('body') or 'record without a body'}")
    message = parsed.message
    if not (message.message_id and message.conversation_id and message.client_msg_id):
        raise Poison("message_id, conversation_id or client_msg_id is missing")
    if message.sender_id <= 0 or message.WhichOneof("target") is None:
        raise Poison("sender or receiver is missing")
    return Item(record, message, parsed.origin)
