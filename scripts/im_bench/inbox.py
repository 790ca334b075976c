"""What a device has of its conversations, through its reconnections, and whether it is as promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

Way = Literal["live", "list", "sync"]
Frame = Mapping[str, Any]


class Received:
    """What there is of one conversation."""

    def __init__(self) -> None:
        # seq -> message_id.
        self.messages: dict[int, str] = {}
        # All from 1 to this are there.
        self.upto = 0
        # Of this connection.
        self.last = 0


class Inbox:
    """Does as an application does: it syncs once when it connects, for what it missed while it was
    away, and asks for nothing as long as the connection lasts: what is sent then is owed to it.

    Tells ``wrong`` when a connection is sent a message twice, after a younger one, or not at all (the
    next one is there and it is not), and ``first`` when and how each message came first.
    """

    def __init__(
        self,
        conversation_ids: Iterable[str],
        wrong: Callable[[str], None],
        first: Callable[[Frame, Way], None] = lambda _message, _way: None,
    ) -> None:
        """Of other conversations it takes nothing."""
        self.of = {conversation_id: Received() for conversation_id in conversation_ids}
        self._wrong = wrong
        self._first = first
        # Whether what came before this connection is still being asked for.
        self._catching_up = False

    def connected(self) -> Frame:
        """A connection begins: what is to be sent first."""
        for received in self.of.values():
            received.last = 0
        return self.sync()

    def sync(self) -> Frame:
        self._catching_up = True
        cursors = {name: received.upto for name, received in self.of.items()}
        return {"type": "sync", "cursors": cursors, "limit": 500}

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
        name, seq = message["conversation_id"], message["seq"]
        if (received := self.of.get(name)) is None:
            return None
        if seq <= received.last:
            self._wrong(f"{name}: {seq} ({way}) after {received.last}")
        received.last = seq
        self._put(received, message, way)
        if not self._catching_up and seq > received.upto:
            self._wrong(f"{name}: {seq} ({way}), but not {received.upto + 1}")
            return self.sync()
        return None

    def _synced(self, frame: Frame) -> Frame | None:
        for conversation in frame["conversations"]:
            if received := self.of.get(conversation["conversation_id"]):
                for message in conversation["messages"]:
                    self._put(received, message, "sync")
        if frame["has_more"]:
            return self.sync()
        self._catching_up = False
        for name, received in self.of.items():
            if received.messages and received.upto < max(received.messages):
                self._wrong(f"{name}: {received.upto + 1} is missing after all was synced")
        return None

    def _put(self, received: Received, message: Frame, way: Way) -> None:
        seq, message_id = message["seq"], message["message_id"]
        if seq not in received.messages:
            self._first(message, way)
        if received.messages.setdefault(seq, message_id) != message_id:
            self._wrong(f"{message['conversation_id']}: {seq} is two messages")
        while received.upto + 1 in received.messages:
            received.upto += 1
