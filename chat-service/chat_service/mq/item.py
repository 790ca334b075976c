"""The records of a batch on their way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chat_service.model.messages import Place
from im.chat.v1.record_pb2 import ChatRecord, GroupChange, NewMessage, Origin, Recall
from im.group.v1.group_pb2 import GroupSendInfo
from im_common.bus import Record
from im_common.domain.ids import may_be_message_id, parse_conversation
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
    def members(self) -> Sequence[int]:
        """Whom it concerns."""
        if self.is_group:
            return self.group_members
        return self.message.to_user_id, self.message.sender_id

    @property
    def author_id(self) -> int:
        return self.message.sender_id

    @property
    def timestamp(self) -> int:
        """Unix milliseconds, by the clock of the origin."""
        return self.message.timestamp

    @property
    def to_deliver(self) -> bool:
        """Whether receivers get it: also when the record comes a second time (it may have been
        stored, but not delivered, before a crash), but not for a client's retry of a message that
        has its place already under another message_id."""
        return self.place is not None and self.place.message_id == self.message.message_id


@dataclass(slots=True)
class RecallItem:
    """A message that somebody takes back: done when there is no error."""

    record: Record
    recall: Recall
    origin: Origin
    # Of the message.
    seq: int = 0
    error: AppError | None = None
    # The group as it is at the time of the batch; None for a single conversation.
    group: GroupSendInfo | None = None

    @property
    def group_id(self) -> int | None:
        """None for a single conversation."""
        members = parse_conversation(self.recall.conversation_id)
        return members if isinstance(members, int) else None

    @property
    def is_group(self) -> bool:
        return self.group_id is not None

    @property
    def members(self) -> Sequence[int]:
        """Whom it concerns."""
        if self.group is not None:
            return self.group.member_ids
        users = parse_conversation(self.recall.conversation_id)
        return users if isinstance(users, tuple) else ()

    @property
    def author_id(self) -> int:
        return self.recall.user_id

    @property
    def timestamp(self) -> int:
        """Unix milliseconds, by the clock of the origin."""
        return self.recall.timestamp

    @property
    def to_deliver(self) -> bool:
        # Also when it was done already: the first time it may not have been told before a crash.
        return self.error is None


@dataclass(slots=True)
class ChangeItem:
    """Members who came or went."""

    record: Record
    change: GroupChange


Entry = Item | RecallItem | ChangeItem
# What is answered and delivered.
Outgoing = Item | RecallItem


def decode(record: Record) -> Entry:
    """Raises Poison."""
    try:
        parsed = ChatRecord.FromString(record.value)
    except Exception as error:  # protobuf raises its own DecodeError, and others
        raise Poison(f"cannot be decoded: {error}") from None
    kind = parsed.WhichOneof("body")
    if kind == "message":
        return _message(record, parsed)
    if kind == "recall":
        return _recall(record, parsed)
    if kind == "group_change":
        if parsed.group_change.group_id <= 0:
            raise Poison("group_id is missing")
        return ChangeItem(record, parsed.group_change)
    raise Poison(f"nobody works on a {kind or 'record without a body'}")


def _message(record: Record, parsed: ChatRecord) -> Item:
    check_message(parsed.message)
    return Item(record, parsed.message, parsed.origin)


def check_message(message: NewMessage) -> None:
    """Raises Poison for what no client's message is."""
    if not (message.message_id and message.conversation_id and message.client_msg_id):
        raise Poison("message_id, conversation_id or client_msg_id is missing")
    if message.sender_id <= 0 or message.WhichOneof("target") is None:
        raise Poison("sender or receiver is missing")
    if not may_be_message_id(message.message_id) or len(message.client_msg_id) > 64:
        raise Poison("message_id is none, or client_msg_id is too long")
    if not message.conversation_id.isascii() or not message.content_type.isascii():
        raise Poison("conversation_id or content_type is none")
    if message.reply_to and not may_be_message_id(message.reply_to):
        raise Poison("reply_to is no message_id")


def _recall(record: Record, parsed: ChatRecord) -> RecallItem:
    recall = parsed.recall
    if not recall.message_id or recall.user_id <= 0:
        raise Poison("message_id or user_id is missing")
    if parse_conversation(recall.conversation_id) is None:
        raise Poison("conversation_id is none")
    return RecallItem(record, recall, parsed.origin)
