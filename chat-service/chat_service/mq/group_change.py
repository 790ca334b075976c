"""Changes of groups: each is a message of content type `system`, and moves members.

group-service tells of changes on the topic of the group's messages, so that each has its place among
them. Its message and its members' rows are written in one transaction, with the other messages of the
batch: a record that comes again finds its message, and does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from chat_service.mq.entry import NOBODY, Entry, Poison
from chat_service.mq.message import MessageEntry
from chat_service.mq.policy import Facts
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import ChatRecord, GroupChange, NewMessage
from im_common.bus import Record
from im_common.domain.frames import SYSTEM
from im_common.domain.ids import group_conversation
from im_common.errors import AppError


class ChangeEntry(MessageEntry):
    """A change and its message. Nobody waits for it."""

    __slots__ = ()

    def __init__(self, record: Record, change: GroupChange) -> None:
        """Raises Poison."""
        super().__init__(record, NOBODY, message_of(change))
        self.moves = change
        self.moved_user_ids = (*change.joined_user_ids, *change.left_user_ids)
        # A group's new picture is for everybody anyway.
        self.file_ids = ()

    def refusal(self, facts: Facts) -> AppError | None:
        """Who made it was allowed to, or it would not be here."""
        return None


class Changes:
    def decode(self, record: Record, parsed: ChatRecord) -> ChangeEntry:
        change = parsed.group_change
        if change.group_id <= 0:
            raise Poison("group_id is missing")
        return ChangeEntry(record, change)

    async def apply(self, entries: Sequence[Entry], facts: Facts) -> None:
        """They are stored as messages."""


def message_of(change: GroupChange) -> NewMessage:
    """What the group's history says of a change. Its client_msg_id cannot be guessed, so no client has
    used it before."""
    return NewMessage(
        message_id=change.message_id,
        conversation_id=group_conversation(change.group_id),
        sender_id=change.user_id,
        group_id=change.group_id,
        timestamp=change.timestamp,
        content=Content(
            client_msg_id=change.message_id, content_type=SYSTEM, ext_json=change.ext_json
        ),
    )
