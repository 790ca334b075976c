"""Tells a frame that a connection has had already."""

from __future__ import annotations

from collections import OrderedDict

# More than a consumer that died may repeat: what it had in its stages, and up to a batch whose commit
# was about to be made.
WINDOW = 4096
_MASK = (1 << WINDOW) - 1
MOST_CONVERSATIONS = 256


class Seen:
    """A sliding window over `seq` for each conversation, as in IPsec's anti-replay check (RFC 4303,
    section 3.4.3): a late frame passes, the same one twice does not."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        # conversation -> (highest seq, bit i set: highest - i has passed)
        self._windows: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def first_time(self, conversation_id: str, seq: int) -> bool:
        highest, passed = self._windows.get(conversation_id, (0, 0))
        if seq > highest:
            passed = ((passed << (seq - highest)) | 1) & _MASK if highest else 1
            self._windows[conversation_id] = (seq, passed)
            self._windows.move_to_end(conversation_id)
            if len(self._windows) > MOST_CONVERSATIONS:
                self._windows.popitem(last=False)
            return True
        age = highest - seq
        if age >= WINDOW:
            # Too old to tell: twice is better than not at all.
            return True
        if passed & (1 << age):
            return False
        self._windows[conversation_id] = (highest, passed | (1 << age))
        return True
