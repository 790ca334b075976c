"""Messages on their way to their place: who waits for the outcome, and how many there may be.

Each `chat` frame (or call) gets one answer: what the consumer says, or an error to try again when
that does not come in time. A message that comes again while it is on its way joins the one that is,
also when its sender has been told to try again: it costs no second record. What would have to wait
too long is refused at once, so that a backlog cannot grow beyond what can still be answered in time:
beyond that all would be answered too late, sent again, and stay so for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from im.gateway.v1.outcome_pb2 import Answer
from im_common.domain.frames import error_frame, refusal
from im_common.errors import AppError, Code
from im_common.runtime import metrics

ANSWER_WITHIN_S = 10.0
# A record that nothing is heard of for so long is taken for lost, or its answer is.
LOST_AFTER_S = 2 * ANSWER_WITHIN_S
# So many are taken however slow the last ones were; with more, as many as are answered in QUEUE_S.
LEAST = 2_000
MOST = 16_000
QUEUE_S = 1.0
# When one of a lane waits this long, its lane takes no more for now.
STUCK_S = 3.0
# Conversations of one lane share a partition, for the usual numbers of partitions.
LANES = 48
TICK_S = 0.25
# What one more answer counts in the time that they take of late.
_ANSWER_SHARE = 0.05
RETRY_AFTER_MS = 1_000
LONGEST_RETRY_AFTER_MS = 5_000

_TOO_MANY = "too many messages are waiting, send it again"
_REFUSED = metrics.REFUSED.labels("overload")

# Takes the encoded answer: a `sent`, `recalled` or `error` frame.
Waiter = Callable[[bytes], None]


class RetryKey(NamedTuple):
    """What tells a message that comes again from a new one."""

    sender_id: int
    client_msg_id: str


@dataclass(slots=True, eq=False)
class _Entry:
    token: int
    key: RetryKey
    conversation_id: str
    lane: int
    # time.monotonic() seconds.
    began: float
    waiters: list[Waiter]
    # Who comes from now on waits for LOST_AFTER_S.
    is_late: bool = False


class InFlight:
    """Of one process. ``run`` keeps its time limits, for as long as it is used."""

    def __init__(self) -> None:
        # host:port at which this process is told outcomes, known once it listens.
        self.address = ""
        # Starts at the time, so that an answer to an earlier run of this process finds nobody.
        self._numbers = itertools.count(time.time_ns())
        # In the order in which they began.
        self._entries: dict[int, _Entry] = {}
        # The first of each key.
        self._by_key: dict[RetryKey, _Entry] = {}
        self._stuck: set[int] = set()
        self._limit = LEAST
        # How long answers take of late, in seconds; 0 before the first.
        self.answer_s = 0.0
        self._answered = self._refused = 0
        self._retry_ms: float = RETRY_AFTER_MS
        # A second, of late.
        self._answers_rate = self._refusals_rate = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def knows(self, key: RetryKey) -> bool:
        """Whether ``join`` may find it."""
        return key in self._by_key

    def join(self, key: RetryKey, conversation_id: str, waiter: Waiter) -> bool:
        """Whether this message is on its way already; then ``waiter`` gets its answer, too. The same
        client_msg_id for another conversation is for the consumer to refuse."""
        entry = self._by_key.get(key)
        if entry is None or entry.conversation_id != conversation_id:
            return False
        entry.waiters.append(waiter)
        return True

    def begin(self, key: RetryKey, conversation_id: str, waiter: Waiter) -> int:
        """The token by which the answer finds ``waiter``.

        Raises:
            AppError: UNAVAILABLE with ``retry_after_ms``, as there are too many before it.
        """
        lane = crc32(conversation_id.encode()) % LANES
        if lane in self._stuck or not self.has_room:
            self._refused += 1
            raise AppError(Code.UNAVAILABLE, _TOO_MANY, retry_after_ms=self._retry_after_ms())
        token = next(self._numbers)
        entry = _Entry(token, key, conversation_id, lane, time.monotonic(), [waiter])
        self._entries[token] = entry
        self._by_key.setdefault(key, entry)
        return token

    @property
    def has_room(self) -> bool:
        """Whether ``begin`` takes anything."""
        return len(self._entries) < self._limit

    def refusal(self, client_msg_id: str | None) -> bytes:
        """The `error` frame for what ``begin`` would refuse, at little cost."""
        self._refused += 1
        return refusal(Code.UNAVAILABLE, _TOO_MANY, client_msg_id, self._retry_after_ms())

    def settle_all(self, answers: Iterable[Answer]) -> None:
        """Answers came, in order; a second one for the same token is dropped."""
        now = time.monotonic()
        for answer in answers:
            entry = self._end(answer.token)
            if entry is not None:
                self._answered += 1
                took_s = now - entry.began
                self.answer_s += (took_s - self.answer_s) * _ANSWER_SHARE
                metrics.ANSWERED.observe(took_s)
                _tell(entry, answer.frame)

    def settle(self, token: int, frame: bytes) -> None:
        """The answer to one came."""
        self.settle_all([Answer(token=token, frame=frame)])

    def give_up(self, token: int) -> None:
        """There will be no answer: who waits is told to try again with the same client_msg_id."""
        entry = self._end(token)
        if entry is not None:
            _tell(entry, self._try_again(entry))

    def leave(self, token: int, waiter: Waiter) -> None:
        """It waits no longer."""
        entry = self._entries.get(token)
        if entry is not None and waiter in entry.waiters:
            entry.waiters.remove(waiter)

    async def run(self) -> None:
        """Gives up on those who have waited too long, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        over, self._stuck = list[_Entry](), set()
        for entry in self._entries.values():
            age_s = now - entry.began
            if age_s <= STUCK_S:
                break
            if age_s >= (LOST_AFTER_S if entry.is_late else ANSWER_WITHIN_S):
                over.append(entry)
            elif not entry.is_late:
                self._stuck.add(entry.lane)
        for entry in over:
            if entry.is_late:
                self.give_up(entry.token)
            else:
                # Its record is still in the log: no other is made of it, and it counts.
                entry.is_late = True
                _tell(entry, self._try_again(entry))
        self._answers_rate += (self._answered / TICK_S - self._answers_rate) / 4
        self._refusals_rate += (self._refused / TICK_S - self._refusals_rate) / 4
        crowd = self._refusals_rate / max(1.0, self._answers_rate)
        self._retry_ms = min(LONGEST_RETRY_AFTER_MS, RETRY_AFTER_MS * max(1.0, crowd))
        _REFUSED.inc(self._refused)
        self._answered = self._refused = 0
        self._limit = int(min(MOST, max(LEAST, self._answers_rate * QUEUE_S)))
        metrics.IN_FLIGHT.set(len(self._entries))

    def _end(self, token: int) -> _Entry | None:
        entry = self._entries.pop(token, None)
        if entry is not None and self._by_key.get(entry.key) is entry:
            del self._by_key[entry.key]
        return entry

    def _try_again(self, entry: _Entry) -> bytes:
        error = AppError(
            Code.UNAVAILABLE,
            "the message could not be stored in time, send it again",
            retry_after_ms=self._retry_after_ms(),
        )
        return error_frame(error, entry.key.client_msg_id or None)

    def _retry_after_ms(self) -> int:
        """The more are refused for each one that is answered, the later; not all at once."""
        return int(self._retry_ms * (0.75 + random.random() / 2))  # noqa: S311


def _tell(entry: _Entry, frame: bytes) -> None:
    waiters, entry.waiters = entry.waiters, []
    for waiter in waiters:
        waiter(frame)
