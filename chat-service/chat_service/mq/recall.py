"""Recalls: a few statements for a batch, however many there are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from chat_service.model import files, messages
from chat_service.model.messages import MessageFacts, Range
from chat_service.mq.entry import Entry, Origin, Poison
from chat_service.mq.policy import Facts
from im.chat.v1.record_pb2 import ChatRecord, Recall
from im.group.v1.group_pb2 import GroupSendInfo
from im_common.bus import Record
from im_common.domain import frames
from im_common.domain.ids import now_ms, parse_conversation
from im_common.errors import AppError, Code, not_found
from im_common.sql.db import Database


class RecallEntry(Entry):
    """A message that somebody takes back: done when there is no error."""

    __slots__ = ("group", "message_seq", "recall")

    def __init__(self, record: Record, origin: Origin, recall: Recall) -> None:
        """Raises Poison."""
        super().__init__(record, recall.conversation_id, recall.user_id, recall.timestamp, origin)
        self.recall = recall
        # Of the message; what it is emptied at.
        self.message_seq = 0
        # The group as it is at the time of the batch; None for a single conversation.
        self.group: GroupSendInfo | None = None
        self.is_kept_for_devices = True
        users = parse_conversation(self.conversation_id)
        if not recall.message_id or self.author_id <= 0:
            raise Poison("message_id or user_id is missing")
        if users is None:
            raise Poison("conversation_id is none")
        if isinstance(users, int):
            self.group_id = users
        else:
            self.members = users

    def answer(self) -> bytes:
        return frames.error_frame(self.error) if self.error else self.frame(for_author=True)

    def frame(self, *, for_author: bool) -> bytes:
        recall = self.recall
        return frames.encode(
            frames.Recalled(
                conversation_id=recall.conversation_id,
                seq=self.message_seq,
                message_id=recall.message_id,
                by=recall.user_id,
            )
        )


class Recalls:
    def __init__(self, db: Database, window_ms: int) -> None:
        """``window_ms``: so long after it was sent its sender may take a message back."""
        self._db = db
        self._window_ms = window_ms

    def decode(self, record: Record, parsed: ChatRecord) -> RecallEntry:
        return RecallEntry(record, Origin.of(parsed.origin), parsed.recall)

    async def apply(self, entries: Sequence[Entry], facts: Facts) -> None:
        """Their errors: NOT_FOUND, PERMISSION_DENIED, NOT_GROUP_MEMBER, RECALL_WINDOW_PASSED."""
        items = [entry for entry in entries if isinstance(entry, RecallEntry)]
        if not items:
            return
        found = await self._db.read(messages.facts, {item.recall.message_id for item in items})
        to_empty: set[tuple[str, int]] = set()
        for item in items:
            item.group = facts.groups.get(item.group_id or 0)
            message = found.get(item.recall.message_id)
            item.error = self._refusal(item, message)
            item.to_deliver = item.error is None
            if item.error is None and message is not None:
                item.message_seq = message.seq
                if not message.is_recalled:
                    to_empty.add((message.conversation_id, message.seq))
        if to_empty:
            await self._db.write(_empty, sorted(to_empty))

    def _refusal(self, item: RecallEntry, message: MessageFacts | None) -> AppError | None:
        recall = item.recall
        if message is None or message.conversation_id != recall.conversation_id:
            return not_found("message")
        if item.group_id is not None:
            if item.group is None:
                return not_found("group")
            if recall.user_id not in item.group.member_ids:
                return AppError(
                    Code.NOT_GROUP_MEMBER, "only members may recall a message of a group"
                )
            if message.is_change:
                return AppError(
                    Code.PERMISSION_DENIED, "a change of the group stays in its history"
                )
            if recall.user_id in item.group.manager_ids:
                return None
        if recall.user_id != message.sender_id:
            return AppError(Code.PERMISSION_DENIED, "only its sender may recall a message")
        # Once done it stays done, and is said again to who asks again later.
        if not message.is_recalled and recall.timestamp - message.created_at > self._window_ms:
            return AppError(
                Code.RECALL_WINDOW_PASSED,
                f"a message can be recalled for {self._window_ms // 1000} seconds",
            )
        return None


def _empty(connection: Connection, places: Sequence[tuple[str, int]]) -> None:
    """With what the messages named: their files may be used by nothing now."""
    messages.empty(connection, places)
    ranges = [Range(on, seq - 1, seq) for on, seq in places]
    files.drop_uses(connection, ranges, now=now_ms())
