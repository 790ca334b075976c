"""What a device that was away has missed.

A client repeats `sync`, with its cursors moved to the last message it got of each conversation, until
`has_more` is false; then it has everything. An answer is bounded in messages and in bytes, as it is
one WebSocket frame.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from chat_service.model import messages, overview
from chat_service.model.messages import Range
from chat_service.model.overview import Standing
from chat_service.svc import ServiceContext
from im_common.domain.call_limits import MOST_CURSORS, MOST_SYNCED
from im_common.domain.paging import page_limit
from im_common.errors import invalid

DEFAULT_MESSAGES = 200
# Of encoded contents; clients' libraries refuse frames beyond 1 MiB by default.
MOST_BYTES = 512 * 1024
# Conversations that one query reads.
MOST_RANGES = 50


@dataclass(frozen=True, slots=True)
class Delta:
    """What a conversation has beyond the client's cursor, or the first part of it."""

    standing: Standing
    messages: Sequence[Row[Any]]


async def sync(
    svc: ServiceContext, user_id: int, cursors: Mapping[str, int], limit: int
) -> tuple[list[Delta], bool]:
    """The conversations that are ahead of the cursors, unknown ones included, and has_more. The cost
    is that of the user's conversations, however many cursors there are."""
    if len(cursors) > MOST_CURSORS:
        raise invalid("cursors", f"may be at most {MOST_CURSORS}")
    answer = _Answer(user_id, page_limit(limit, default=DEFAULT_MESSAGES, most=MOST_SYNCED))
    await svc.db.read(answer.read, cursors)
    return answer.deltas, answer.has_more


@dataclass(frozen=True, slots=True)
class _Part:
    standing: Standing
    # `seq` has no gap, so the range says how many messages there are but for deleted ones.
    range: Range

    @property
    def is_all(self) -> bool:
        return self.range.upto == self.standing.last_seq


def _plan(behind: deque[tuple[Standing, int]], room: int) -> list[_Part]:
    """Takes conversations until their messages fill the room; of the last one perhaps a part."""
    parts: list[_Part] = []
    while behind and room > 0 and len(parts) < MOST_RANGES:
        standing, above = behind.popleft()
        upto = min(standing.last_seq, above + room)
        parts.append(_Part(standing, Range(standing.conversation_id, above, upto)))
        room -= upto - above
    return parts


class _Answer:
    def __init__(self, user_id: int, room: int) -> None:
        self.deltas: list[Delta] = []
        self.has_more = False
        # Messages that still fit.
        self.room = room
        self._bytes = MOST_BYTES
        self._user_id = user_id

    def read(self, connection: Connection, cursors: Mapping[str, int]) -> None:
        behind: deque[tuple[Standing, int]] = deque()
        for standing in overview.of_user(connection, self._user_id):
            above = max(cursors.get(standing.conversation_id, 0), standing.hidden_seq)
            if above < standing.last_seq:
                behind.append((standing, above))
        while behind and self.room > 0:
            self._add(connection, _plan(behind, self.room))
        if behind:
            self.has_more = True

    def _add(self, connection: Connection, parts: Sequence[_Part]) -> None:
        rows = messages.in_ranges(connection, self._user_id, [p.range for p in parts])
        by_conversation: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in rows:
            by_conversation[row.conversation_id].append(row)
        for part in parts:
            found = by_conversation[part.range.conversation_id]
            if found or part.is_all:
                self._put(part.standing, found, is_all=part.is_all)
            else:
                # The reader has deleted all of the part: a cursor could never get over it.
                self._add_beyond(connection, part)

    def _add_beyond(self, connection: Connection, part: _Part) -> None:
        if self.room <= 0:
            self.has_more = True
            return
        found = messages.page(
            connection,
            part.range.conversation_id,
            reader=self._user_id,
            above=part.range.upto,
            below=part.standing.last_seq + 1,
            limit=self.room,
            newest=False,
        )
        self._put(part.standing, found, is_all=len(found) < self.room)

    def _put(self, standing: Standing, found: Sequence[Row[Any]], *, is_all: bool) -> None:
        fitting: list[Row[Any]] = []
        for row in found:
            size = _encoded_bytes(row)
            if self.room <= 0 or (size > self._bytes and (self.deltas or fitting)):
                # Nothing else of this answer may be read: not to be passed over.
                self.room = 0
                break
            fitting.append(row)
            self.room -= 1
            self._bytes -= size
        if fitting:
            self.deltas.append(Delta(standing, fitting))
        if not is_all or len(fitting) < len(found):
            self.has_more = True


def _encoded_bytes(row: Row[Any]) -> int:
    extra = len(row.ext or "") + len(row.mentions or "")
    return len(msgspec.json.encode(row.content)) + 4 * extra + 400
