"""Which messages and events a connection has had."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

# More than the offline list keeps, and than a consumer that died may repeat: what it had in its
# stages, and up to a batch whose commit was about to be made.
WINDOW = 4096
_MASK = (1 << WINDOW) - 1
MOST_CONVERSATIONS = 256
# More than the offline list keeps.
MOST_EVENTS = 2048


class Seen:
    """The highest `seq` of each conversation and a sliding window below it, as in IPsec's anti-replay
    check (RFC 4303, section 3.4.3). Of the conversations that were quiet longest nothing is known."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        # conversation -> (highest seq, bit i set: had highest - i)
        self._windows: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def is_newer(self, conversation_id: str, seq: int) -> bool:
        """Whether it comes after all that were added."""
        return seq > self._windows.get(conversation_id, (0, 0))[0]

    def has(self, conversation_id: str, seq: int) -> bool:
        """Whether just this one was added; False when that is too long ago to tell."""
        highest, had = self._windows.get(conversation_id, (0, 0))
        age = highest - seq
        return 0 <= age < WINDOW and bool(had & (1 << age))

    def add(self, conversation_id: str, seq: int) -> None:
        highest, had = self._windows.get(conversation_id, (0, 0))
        if seq <= highest:
            if highest - seq < WINDOW:
                self._windows[conversation_id] = (highest, had | (1 << (highest - seq)))
            return
        had = (had << (seq - highest)) & _MASK if seq - highest < WINDOW else 0
        self._windows[conversation_id] = (seq, had | 1)
        self._windows.move_to_end(conversation_id)
        if len(self._windows) > MOST_CONVERSATIONS:
            self._windows.popitem(last=False)

    def add_new(self, conversation_id: str, seqs: Sequence[int]) -> int:
        """Adds those that come after all that were added, of some in ascending order; how many those
        are, from the end."""
        highest, had = self._windows.get(conversation_id, (0, 0))
        first, last = seqs[0], seqs[-1]
        if first > highest and last - first + 1 == len(seqs) and last - highest < WINDOW:
            bits = (1 << len(seqs)) - 1
            self._windows[conversation_id] = (last, ((had << (last - highest)) & _MASK) | bits)
            self._windows.move_to_end(conversation_id)
            if len(self._windows) > MOST_CONVERSATIONS:
                self._windows.popitem(last=False)
            return len(seqs)
        new = [seq for seq in seqs if seq > highest]
        for seq in new:
            self.add(conversation_id, seq)
        return len(new)


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
