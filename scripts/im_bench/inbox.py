"""What one device has of a conversation, through its reconnections, and whether that is as promised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Way = Literal["live", "list", "sync"]
Frame = Mapping[str, Any]


class Inbox:
    """Does as an application does: it syncs once when it connects, for what it missed while it was
    away, and asks for nothing as long as the connection lasts: what is sent then is owed to it.

    Tells ``wrong`` when a connection is sent a message twice, after a younger one, or not at all (the
    next one is there and it is not), and ``first`` when and how each message came first.
    """

    def __init__(
        self,
        conversation_id: str,
        wrong: Callable[[str], None],
        first: Callable[[int, Way], None] = lambda _seq, _way: None,
    ) -> None:
        self._conversation_id = conversation_id
        self._wrong = wrong
        self._first = first
        # seq -> message_id.
        self.received: dict[int, str] = {}
        # All from 1 to this are there.
        self.upto = 0
        # Of this connection.
        self._last = 0
        # Whether what came before this connection is still being asked for.
        self._catching_up = False

    def connected(self) -> Frame:
        """A connection begins: what is to be sent first."""
        self._last = 0
        return self.sync()

    def sync(self) -> Frame:
        self._catching_up = True
        return {"type": "sync", "cursors": {self._conversation_id: self.upto}, "limit": 500}

    def take(self, frame: Frame) -> Frame | None:
        """What is to be sent for what came."""
        kind = frame["type"]
        if kind == "sync":
            return self._synced(frame)
        if kind == "message":
            return self._sent(frame, "live")
        answer = None
        if kind == "offline":
            for listed in frame["frames"]:
                if listed["type"] == "message":
                    answer = self._sent(listed, "list") or answer
        return answer

    def _sent(self, message: Frame, way: Way) -> Frame | None:
        seq = message["seq"]
        if seq <= self._last:
            self._wrong(f"{seq} ({way}) after {self._last}")
        self._last = seq
        self._put(message, way)
        if not self._catching_up and seq > self.upto:
            self._wrong(f"{seq} ({way}), but not {self.upto + 1}")
            return self.sync()
        return None

    def _synced(self, frame: Frame) -> Frame | None:
        for conversation in frame["conversations"]:
            if conversation["conversation_id"] == self._conversation_id:
                for message in conversation["messages"]:
                    self._put(message, "sync")
        if frame["has_more"]:
            return self.sync()
        self._catching_up = False
        if self.received and self.upto < max(self.received):
            self._wrong(f"{self.upto + 1} is missing after all was synced")
        return None

    def _put(self, message: Frame, way: Way) -> None:
        seq, message_id = message["seq"], message["message_id"]
        if seq not in self.received:
            self._first(seq, way)
        if self.received.setdefault(seq, message_id) != message_id:
            self._wrong(f"{seq} is two messages")
        while self.upto + 1 in self.received:
            self.upto += 1
