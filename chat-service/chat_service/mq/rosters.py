"""What a change of a group makes of its members' rows.

Who comes sees messages from the change's own on; who leaves sees none from it on. A row remembers the
time of the last change: one that is older does nothing, such as a dead letter that is replayed late.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from chat_service.model.members import Cursors, MemberKey, new_row
from im.chat.v1.record_pb2 import GroupChange

# Whole rows of conversation_members.
Rows = dict[MemberKey, dict[str, Any]]
_COMING = frozenset(("members_added", "member_joined"))
_GOING = frozenset(("member_left", "member_removed"))


class _Told(msgspec.Struct):
    """What is read of a change's ``ext``."""

    event: str = ""
    user_id: int = 0
    user_ids: tuple[int, ...] = ()


def take(rows: Rows, change: GroupChange, conversation_id: str, seq: int) -> None:
    """``rows`` are those that there are, in and out; ``seq`` is the place of the change's message."""
    for user_id in change.joined_user_ids:
        _join(rows, (user_id, conversation_id), before(change, seq), change.timestamp)
    for user_id in change.left_user_ids:
        row = rows.get((user_id, conversation_id))
        if row is not None and row["changed_at"] < change.timestamp:
            row["changed_at"] = change.timestamp
            if row["left_seq"] is None:
                row["left_seq"] = seq - 1


def who_left_first(changes: Iterable[str]) -> frozenset[int]:
    """Of some changes, as the history tells of them (``ext``), the users of whom the first one says
    that they went: they were members before."""
    went: dict[int, bool] = {}
    for ext in changes:
        try:
            told = msgspec.json.decode(ext, type=_Told)
        except msgspec.DecodeError:
            # Not from group-service.
            continue
        for user_id in told.user_ids or (told.user_id,):
            if told.event in _COMING or told.event in _GOING:
                went.setdefault(user_id, told.event in _GOING)
    return frozenset(user_id for user_id, has_gone in went.items() if has_gone)


def before(change: GroupChange, seq: int) -> int:
    """Up to where those who come with it see nothing."""
    # What was written before the conversation was told of its group is for all of its members.
    return 0 if change.created else seq - 1


def take_back(rows: Rows, key: MemberKey, seq: int) -> None:
    """Whose message is at ``seq`` is a member, though the change that says so comes later: who had
    left is back from there on."""
    row = rows.get(key)
    if row is not None:
        _return(row, seq - 1)


def _join(rows: Rows, key: MemberKey, hidden: int, at: int) -> None:
    row = rows.get(key)
    if row is None:
        rows[key] = new_row(key, Cursors(hidden, hidden), min_seq=hidden) | {
            "left_seq": None,
            "changed_at": at,
        }
    elif row["changed_at"] < at:
        row["changed_at"] = at
        _return(row, hidden)


def _return(row: dict[str, Any], hidden: int) -> None:
    # Who has a row and has not left was there before: nothing is hidden.
    if row["left_seq"] is not None:
        row["left_seq"] = None
        for cursor in ("min_seq", "read_seq", "delivered_seq"):
            row[cursor] = max(row[cursor], hidden)
