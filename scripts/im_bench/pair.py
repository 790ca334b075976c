"""A sender and a receiver, and what is known of each of their messages."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from time import perf_counter as clock

import msgspec

from im_bench.acks import ack_frame
from im_bench.people import Person
from im_bench.report import Failed
from im_bench.websocket import Socket, connect, text_frame
from im_common.domain.ids import single_conversation

CONTENT_BYTES = 64
_DIGITS = 8
_FILLER = b"the quick brown fox jumps over the lazy dog, twice or more often"[
    : CONTENT_BYTES - _DIGITS
]


@dataclass(slots=True)
class Window:
    """What is counted: what happens, and the latencies of what begins, from begin to end.

    It ends when ``most`` messages were offered, if not before.
    """

    begin: float = float("inf")
    end: float = float("inf")
    most: int = sys.maxsize
    offered: int = 0
    sent: int = 0
    delivered: int = 0
    sent_s: array[float] = field(default_factory=lambda: array("d"))
    delivered_s: array[float] = field(default_factory=lambda: array("d"))


class _Sent(msgspec.Struct):
    client_msg_id: str
    message_id: str
    seq: int


class _Message(msgspec.Struct):
    message_id: str
    seq: int
    content: str


_sent_decoder = msgspec.json.Decoder(_Sent)
_message_decoder = msgspec.json.Decoder(_Message)


def number_in(content: str) -> int:
    """Which message of its pair this is, from 0."""
    return int(content[:_DIGITS])


def content_of(number: int) -> str:
    """The other way round."""
    return f"{number:0{_DIGITS}}{_FILLER.decode()}"


class Pair:
    """The n-th message (from 0) says n in its content and its client_msg_id, and gets seq n + 1."""

    def __init__(
        self, sender: Person, receiver: Person, window: Window, *, stored: int = 0
    ) -> None:
        """So many messages are ``stored`` already; the next one is the one after them."""
        self.sender = sender
        self.receiver = receiver
        self.offered = self.answered = self.delivered = self._acknowledged = stored
        self._stored = stored
        self._window = window
        self._in_flight = 0
        self._due: array[float] = array("d")
        # Of the messages that only one of the two frames has named yet.
        self._ids: dict[int, str] = {}
        self._failure: str | None = None
        self._head = b'{"type":"chat","to":%d,"client_msg_id":"b-' % receiver.user_id

    @property
    def conversation_id(self) -> str:
        return single_conversation(self.sender.user_id, self.receiver.user_id)

    @property
    def history(self) -> str:
        return f"/v1/conversations/{self.conversation_id}/messages"

    async def connect(self, sends_to: str, receives_from: str) -> None:
        self._out = await connect(sends_to, self.sender.token, self._on_answer)
        self._in: Socket = await connect(receives_from, self.receiver.token, self._on_message)

    def close(self) -> None:
        self._out.close()
        self._in.close()

    def keep_in_flight(self, number: int) -> None:
        """From now on each answer lets the next message go, until the window ends."""
        self._in_flight = number
        for _ in range(number):
            if (now := clock()) < self._window.end:
                self.send(now)

    def send(self, due: float) -> None:
        number = b"%0*d" % (_DIGITS, self.offered)
        self._due.append(due)
        self.offered += 1
        window = self._window
        window.offered += 1
        if window.offered == window.most:
            window.end = due
        body = (self._head, number, b'","content":"', number, _FILLER, b'"}')
        self._out.write(text_frame(b"".join(body)))

    def acknowledge(self) -> None:
        """The receiver says what it has, when that is more than it said."""
        if self.delivered > self._acknowledged and self._in.ended is None:
            self._acknowledged = self.delivered
            self._in.write(ack_frame(self.conversation_id.encode(), self.delivered))

    @property
    def settled(self) -> bool:
        return self.answered == self.delivered == self.offered

    def raise_failure(self) -> None:
        failure = self._failure or self._out.ended or self._in.ended
        if failure:
            raise Failed(f"user {self.sender.user_id} to {self.receiver.user_id}: {failure}")

    def check(self) -> None:
        """Raises Failed unless each message was answered and delivered once, and in its place."""
        if self._failure or not self.settled:
            raise Failed(self._failure or "messages are missing")

    def _on_answer(self, frame: bytes) -> None:
        if not frame.startswith(b'{"type":"sent"'):
            if frame.startswith((b'{"type":"error"', b'{"type":"kick"')):
                self._failure = frame.decode()
            return
        answer, now, window = _sent_decoder.decode(frame), clock(), self._window
        number = int(answer.client_msg_id[2:])
        if number != self.answered or answer.seq != number + 1:
            self._failure = self._failure or f"answer {self.answered} is {frame.decode()}"
        self.answered += 1
        self._same_id(number, answer.message_id)
        window.sent += window.begin <= now < window.end
        if window.begin <= (due := self._due[number - self._stored]) < window.end:
            window.sent_s.append(now - due)
        if self._in_flight and now < window.end:
            self.send(now)

    def _on_message(self, frame: bytes) -> None:
        if not frame.startswith(b'{"type":"message"'):
            if frame.startswith((b'{"type":"offline"', b'{"type":"kick"')):
                self._failure = frame.decode()
            return
        message, now, window = _message_decoder.decode(frame), clock(), self._window
        number = number_in(message.content)
        if number != self.delivered or message.seq != number + 1:
            self._failure = self._failure or f"message {self.delivered} is {frame.decode()}"
        self.delivered += 1
        self._same_id(number, message.message_id)
        window.delivered += window.begin <= now < window.end
        if window.begin <= (due := self._due[number - self._stored]) < window.end:
            window.delivered_s.append(now - due)

    def _same_id(self, number: int, message_id: str) -> None:
        """Both frames of a message name the same one."""
        other = self._ids.pop(number, None)
        if other is None:
            self._ids[number] = message_id
        elif other != message_id:
            self._failure = f"message {number} has two ids: {other}, {message_id}"
