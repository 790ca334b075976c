"""What was sent by the user and has no definite answer yet.

It is stored before it is sent, and goes out again under the same client_msg_id until it is `sent` or
refused: never lost, never twice. Of each conversation one message is on its way at a time, so that they
come in the order they were written.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from im_client.errors import MessageRefused, is_retryable
from im_client.messages import Pending
from im_client.parts import Frame, Timer, now_ms, random_id
from im_client.storage import Change, Storage

_ANSWER_S = 15.0
_PAUSE_S = 1.0


class Outbox:
    """``send`` says whether a frame was handed on; ``on_change`` hears of a conversation_id."""

    def __init__(
        self,
        storage: Storage,
        prefix: str,
        *,
        send: Callable[[Frame], bool],
        on_change: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._send = send
        self._on_change = on_change
        # By client_msg_id, in the order in which they were written.
        self._entries: dict[str, Pending] = {}
        # By conversation: what is not refused.
        self._queues: dict[str, deque[Pending]] = {}
        # By conversation: what ends the wait for the answer.
        self._on_the_way: dict[str, Timer] = {}
        self._is_ready = False
        self._paused_until = 0.0
        self._resume = Timer(self._pump_all)
        self._failures = 0
        self._number = 0

    @property
    def size(self) -> int:
        return len(self._entries)

    async def load(self) -> None:
        """Takes over what an earlier client left."""
        for key, stored in await self._storage.list(self._prefix):
            entry = Pending.of(key, stored)
            self._number = int(key.removeprefix(self._prefix))
            self._entries[entry.client_msg_id] = entry
            if not entry.error:
                self._queue(entry).append(entry)

    def of(self, conversation_id: str) -> list[Pending]:
        return [e for e in self._entries.values() if e.conversation_id == conversation_id]

    async def add(
        self, conversation_id: str, frame: Frame, client_msg_id: str | None = None
    ) -> Pending:
        """Stores the message; from then on it is the outbox's to see it sent. One that is here already
        is given again, unless it was refused."""
        known = self._entries.get(client_msg_id or "")
        if known and not known.error:
            return known
        if known:
            await self.discard(known)
        self._number += 1
        entry = Pending(
            key=f"{self._prefix}{self._number:016d}",
            client_msg_id=client_msg_id or random_id(),
            conversation_id=conversation_id,
            frame=frame,
            created_at=now_ms(),
        )
        self._entries[entry.client_msg_id] = entry
        self._queue(entry).append(entry)
        # Who is cancelled leaves it whole.
        await asyncio.shield(asyncio.create_task(self._store(entry)))
        return entry

    async def _store(self, entry: Pending) -> None:
        try:
            await self._storage.write([(entry.key, entry.to_stored())])
        except BaseException:
            self._remove(entry)
            raise
        entry.is_stored = True
        self._on_change(entry.conversation_id)
        self._pump(entry.conversation_id)

    async def retry(self, entry: Pending) -> Pending:
        """Sends what was refused once more. It is a new message: the old one's refusal is final."""
        if not entry.error:
            return entry
        await self.discard(entry)
        return await self.add(entry.conversation_id, entry.frame)

    async def discard(self, entry: Pending) -> bool:
        """Forgets a message, unless it may be on its way; says whether."""
        queue = self._queue(entry)
        is_first = bool(queue) and queue[0] is entry
        if not entry.error and is_first and entry.conversation_id in self._on_the_way:
            return False
        self._remove(entry)
        await self._storage.write([(entry.key, None)])
        return True

    def settle(self, client_msg_id: str | None) -> tuple[Pending, Change] | None:
        """The message has its place: what must be written so that it is forgotten here."""
        entry = self._entries.get(client_msg_id or "")
        if not entry:
            return None
        self._failures = 0
        self._remove(entry)
        return entry, (entry.key, None)

    async def refuse(self, error: Frame) -> bool:
        """An `error` frame; says whether it was about a message of this outbox."""
        entry = self._entries.get(error.get("client_msg_id") or "")
        if not entry or entry.error:
            return entry is not None
        self._answered(entry)
        if is_retryable(error["code"]):
            wait_s = _PAUSE_S * min(2**self._failures, 16) * random.uniform(0.5, 1.5)  # noqa: S311
            if "retry_after_ms" in error:
                wait_s = error["retry_after_ms"] / 1000
            self._failures += 1
            self._paused_until = time.monotonic() + wait_s
            self._resume.set(wait_s)
            return True
        refusal = MessageRefused(error["code"], error.get("message", ""), field=error.get("field"))
        self._queue(entry).remove(entry)
        await self._storage.write([(entry.key, {**entry.to_stored(), "error": _told(refusal)})])
        entry.refuse(refusal)
        self._on_change(entry.conversation_id)
        self._pump(entry.conversation_id)
        return True

    def connected(self, is_ready: bool) -> None:
        """What was on its way when a connection ended goes out again on the next."""
        self._is_ready = is_ready
        for timer in self._on_the_way.values():
            timer.clear()
        self._on_the_way.clear()
        self._pump_all()

    def close(self) -> None:
        self.connected(False)
        self._resume.clear()

    def _pump_all(self) -> None:
        for conversation_id in tuple(self._queues):
            self._pump(conversation_id)

    def _pump(self, conversation_id: str) -> None:
        queue = self._queues.get(conversation_id)
        if not queue:
            self._queues.pop(conversation_id, None)
            return
        if not self._is_ready or conversation_id in self._on_the_way or self._is_paused:
            return
        entry = queue[0]
        # One that is not on the disk yet holds back what was written after it, too.
        if not entry.is_stored:
            return
        frame = {"type": "chat", **entry.frame, "client_msg_id": entry.client_msg_id}
        if self._send(frame):
            # The server owes an answer; asking again is safe.
            timer = Timer(lambda: self._unanswered(conversation_id))
            timer.set(_ANSWER_S)
            self._on_the_way[conversation_id] = timer

    @property
    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until and self._resume.is_set

    def _unanswered(self, conversation_id: str) -> None:
        self._on_the_way.pop(conversation_id, None)
        self._pump(conversation_id)

    def _answered(self, entry: Pending) -> None:
        queue = self._queue(entry)
        if queue and queue[0] is entry and entry.conversation_id in self._on_the_way:
            self._on_the_way.pop(entry.conversation_id).clear()

    def _queue(self, entry: Pending) -> deque[Pending]:
        return self._queues.setdefault(entry.conversation_id, deque())

    def _remove(self, entry: Pending) -> None:
        self._answered(entry)
        self._entries.pop(entry.client_msg_id, None)
        if entry in self._queue(entry):
            self._queue(entry).remove(entry)
        self._on_change(entry.conversation_id)
        self._pump(entry.conversation_id)


def _told(refusal: MessageRefused) -> list[Any]:
    return [refusal.code, str(refusal), refusal.field]
