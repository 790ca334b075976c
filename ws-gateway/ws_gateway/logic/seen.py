"""Which messages and events a connection has had."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

# More than the offline list keeps, and than a consumer that died may repeat: what it had in its
# stages, and up to a batch whose commit was about to be made.
WINDOW = 4096
_MASK = (1 << WINDOW) - 1
MOST_CONVERSATIONS = 256
# More than the offline list keeps.
MOST_EVENTS = 2048


class _Had(msgspec.Struct, frozen=True, gc=False):
    """Of a conversation: all of begin < seq <= highest, and of those up to begin some: bit i set means
    begin - i. Mostly a connection has all since it is there, and so two numbers say it."""

    highest: int
    begin: int
    bits: int


_NOTHING = _Had(0, 0, 0)


class Seen:
    """The highest `seq` of each conversation and a sliding window below it, as in IPsec's anti-replay
    check (RFC 4303, section 3.4.3). Of the conversations that were quiet longest nothing is known."""

    __slots__ = ("_had",)

    def __init__(self) -> None:
        self._had: OrderedDict[str, _Had] = OrderedDict()

    def is_newer(self, conversation_id: str, seq: int) -> bool:
        """Whether it comes after all that were added."""
        return seq > self._had.get(conversation_id, _NOTHING).highest

    def has(self, conversation_id: str, seq: int) -> bool:
        """Whether just this one was added; False when that is too long ago to tell."""
        had = self._had.get(conversation_id, _NOTHING)
        if not 0 <= had.highest - seq < WINDOW:
            return False
        return seq > had.begin or bool(had.bits & (1 << (had.begin - seq)))

    def add(self, conversation_id: str, seq: int) -> None:
        had = self._had.get(conversation_id, _NOTHING)
        if seq > had.highest:
            self._put(conversation_id, _after(had, seq))
        elif seq <= had.begin and had.highest - seq < WINDOW:
            bits = had.bits | (1 << (had.begin - seq))
            self._had[conversation_id] = _Had(had.highest, had.begin, bits)

    def add_newer(self, conversation_id: str, seq: int) -> bool:
        """Adds one that comes after all that were added; whether it does."""
        had = self._had.get(conversation_id, _NOTHING)
        if seq <= had.highest:
            return False
        self._put(conversation_id, _after(had, seq))
        return True

    def add_new(self, conversation_id: str, seqs: Sequence[int]) -> int:
        """Adds those that come after all that were added, of some in ascending order; how many those
        are, from the end."""
        had = self._had.get(conversation_id, _NOTHING)
        first, last = seqs[0], seqs[-1]
        if first > had.highest and last - first + 1 == len(seqs):
            had = _after(had, first)
            self._put(conversation_id, _Had(last, had.begin, had.bits))
            return len(seqs)
        new = [seq for seq in seqs if seq > had.highest]
        for seq in new:
            self.add(conversation_id, seq)
        return len(new)

    def _put(self, conversation_id: str, had: _Had) -> None:
        self._had[conversation_id] = had
        self._had.move_to_end(conversation_id)
        if len(self._had) > MOST_CONVERSATIONS:
            self._had.popitem(last=False)


def _after(had: _Had, seq: int) -> _Had:
    """With one that is higher than all."""
    if seq == had.highest + 1:
        return _Had(seq, had.begin, had.bits)
    begin, bits = seq - 1, 0
    if begin - had.highest < WINDOW:
        # What is known, from the new ``begin`` on.
        run = min(had.highest - had.begin, WINDOW)
        bits = (had.bits << run) | ((1 << run) - 1)
        bits = (bits << (begin - had.highest)) & _MASK
    return _Had(seq, begin, bits)


class SeenEvents:
    """The ids of the newest."""

    __slots__ = ("_ids", "_most")

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self._ids: dict[str, None] = {}
        self._most = most

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def add(self, event_id: str) -> bool:
        """Whether that is the first time."""
        if event_id in self._ids:
            return False
        self._ids[event_id] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        return True
