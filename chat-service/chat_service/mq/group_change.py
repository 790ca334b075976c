"""Who came to a group sees what is written from then on; who left sees none of it.

group-service tells of changes on the topic of the group's messages, so that each has its place among
them. A conversation without any message has no rows yet: its first message makes them for all
members of that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from chat_service.model import conversations, members
from chat_service.model.members import MemberKey
from chat_service.mq.entry import Entry, Poison
from chat_service.mq.policy import Facts
from im.chat.v1.record_pb2 import ChatRecord, GroupChange
from im_common.bus import Record
from im_common.domain.ids import group_conversation
from im_common.sql.db import Database

Rows = dict[MemberKey, dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class ChangeEntry(Entry):
    """Members who came or went. Nobody waits for it, and it is not shown."""

    change: GroupChange

    @property
    def conversation_id(self) -> str:
        return group_conversation(self.change.group_id)

    @property
    def author_id(self) -> int:
        return 0

    @property
    def timestamp(self) -> int:
        return self.change.timestamp

    def answer(self) -> bytes:
        raise NotImplementedError

    def frame(self, *, for_author: bool) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Change:
    change: GroupChange
    conversation_id: str
    # The last message before it, as far as the batch knows; None when it does not.
    seq: int | None


class Changes:
    def __init__(self, db: Database) -> None:
        self._db = db

    def decode(self, record: Record, parsed: ChatRecord) -> ChangeEntry:
        if parsed.group_change.group_id <= 0:
            raise Poison("group_id is missing")
        return ChangeEntry(record=record, change=parsed.group_change)

    async def apply(self, entries: Sequence[Entry], _facts: Facts) -> None:
        """In order. A record that comes again, or one that is older than what a row has, does
        nothing."""
        changes = list(_with_seqs(entries))
        if changes:
            await self._db.write(_write, changes)


def _write(connection: Connection, changes: Sequence[_Change]) -> None:
    last_seqs = conversations.last_seqs(connection, {c.conversation_id for c in changes})
    rows = members.rows(connection, _concerned(changes))
    for change in changes:
        if change.conversation_id in last_seqs:
            seq = last_seqs[change.conversation_id] if change.seq is None else change.seq
            _take(connection, change, seq, rows)
    if rows:
        members.put(connection, [rows[key] for key in sorted(rows)])


def _concerned(changes: Iterable[_Change]) -> set[MemberKey]:
    return {
        (user_id, c.conversation_id)
        for c in changes
        for user_id in (*c.change.joined_user_ids, *c.change.left_user_ids)
    }


def _take(connection: Connection, change: _Change, seq: int, rows: Rows) -> None:
    at = change.change.timestamp
    for user_id in change.change.joined_user_ids:
        _join(rows, (user_id, change.conversation_id), seq, at)
    for user_id in change.change.left_user_ids:
        row = rows.get((user_id, change.conversation_id))
        if row is not None and row["changed_at"] < at:
            row["changed_at"] = at
            if row["left_seq"] is None:
                row["left_seq"] = seq
    if change.change.dismissed:
        members.leave_all(connection, change.conversation_id, seq, at)
        for key, row in rows.items():
            if key[1] == change.conversation_id and row["left_seq"] is None:
                row["left_seq"] = seq


def _join(rows: Rows, key: MemberKey, seq: int, at: int) -> None:
    row = rows.get(key)
    if row is None:
        row = rows[key] = members.new_row(key, members.Cursors(seq, seq)) | {
            "min_seq": seq,
            "left_seq": None,
            "changed_at": at,
        }
    elif row["changed_at"] < at:
        row["changed_at"] = at
        # Who has a row and has not left was there before: nothing is hidden.
        if row["left_seq"] is not None:
            row["left_seq"] = None
            for cursor in ("min_seq", "read_seq", "delivered_seq"):
                row[cursor] = max(row[cursor], seq)


def _with_seqs(entries: Sequence[Entry]) -> Iterable[_Change]:
    for index, entry in enumerate(entries):
        if isinstance(entry, ChangeEntry):
            conversation_id = entry.conversation_id
            yield _Change(entry.change, conversation_id, _seq_at(entries, index, conversation_id))


def _seq_at(entries: Sequence[Entry], index: int, conversation_id: str) -> int | None:
    """The conversation's last seq before the entry at ``index``."""
    for entry in reversed(entries[:index]):
        if (seq := _placed_seq(entry, conversation_id)) is not None:
            return seq
    for entry in entries[index:]:
        if (seq := _placed_seq(entry, conversation_id)) is not None:
            return seq - 1
    return None


def _placed_seq(entry: Entry, conversation_id: str) -> int | None:
    place = entry.new_place
    return place.seq if place is not None and place.conversation_id == conversation_id else None
