"""People who talk to friends and to groups, are told who comes and goes, and come and go themselves.

Each has two devices, as a telephone and a computer: one that writes, and one that only listens, which
is owed all messages of all conversations, in order and once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter as clock
from typing import Any

import msgspec

from im_bench.acks import ack_frame
from im_bench.inbox import Frame, Inbox, Received, Way
from im_bench.people import Person
from im_bench.report import Failed
from im_bench.websocket import Socket, connect, text_frame

_DIGITS = 8


class _Answer(msgspec.Struct):
    type: str
    client_msg_id: str = ""
    conversation_id: str = ""
    seq: int = 0
    message_id: str = ""


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(slots=True)
class Log:
    """All messages of all people."""

    # Number -> when it was due, and its answer (conversation, seq, message_id).
    due: list[float] = field(default_factory=list)
    answered: dict[int, tuple[str, int, str]] = field(default_factory=dict)
    # What is counted begins here.
    begin: float = float("inf")
    sent_s: list[float] = field(default_factory=list)
    delivered_s: list[float] = field(default_factory=list)
    # How copies came, presence and receipts that were told.
    seen: Counter[str] = field(default_factory=Counter)
    failure: str = ""

    def fail(self, what: str) -> None:
        self.failure = self.failure or what

    def check(self) -> None:
        """Raises Failed."""
        if self.failure:
            raise Failed(self.failure)


class User:
    """A person with both devices."""

    def __init__(self, person: Person, conversations: Sequence[str], log: Log) -> None:
        self.person = person
        self._log = log
        self.inbox = Inbox(conversations, self._wrong, self._first)
        self.unanswered = 0
        self.is_online = False
        self._acknowledged: dict[str, int] = {}
        self._out: Socket | None = None
        self._in: Socket | None = None

    async def come(self, url: str) -> None:
        self._in = await connect(url, self.person.token, self._on_frame, self._on_hello)
        self._out = await connect(url, self.person.token, self._on_answer)
        self.is_online = True

    def leave(self) -> None:
        """Both are gone at once, without a word."""
        self.is_online = False
        for socket in (self._out, self._in):
            if socket is not None:
                socket.abort()

    def close(self) -> None:
        for socket in (self._out, self._in):
            if socket is not None:
                socket.close()

    def say(self, target: tuple[str, int], due: float) -> None:
        """To a user (`to`) or a group (`group_id`)."""
        number = len(self._log.due)
        self._log.due.append(due)
        self.unanswered += 1
        name, target_id = target
        body = b'{"type":"chat","%s":%d,"client_msg_id":"e-%d","content":"%0*d"}'
        self._put(body % (name.encode(), target_id, number, 64, number))

    def type(self, target: tuple[str, int]) -> None:
        self._put(b'{"type":"typing","%s":%d}' % (target[0].encode(), target[1]))

    def acknowledge(self) -> None:
        if self._in is None or not self.is_online:
            return
        for name, received in self.inbox.of.items():
            if received.upto > self._acknowledged.get(name, 0):
                self._acknowledged[name] = received.upto
                self._in.write(ack_frame(name.encode(), received.upto))

    def check(self) -> None:
        """Raises Failed when a device of one who is there has lost its connection."""
        for socket in (self._out, self._in):
            if self.is_online and socket is not None and socket.ended:
                raise Failed(f"{self.person.username}: {socket.ended}")

    def _put(self, payload: bytes) -> None:
        if self._out is not None:
            self._out.write(text_frame(payload))

    def _on_answer(self, payload: bytes) -> None:
        if payload.startswith((b'{"type":"error"', b'{"type":"kick"')):
            self._wrong(payload.decode())
        if not payload.startswith(b'{"type":"sent"'):
            return
        answer, now, log = _decoder.decode(payload), clock(), self._log
        number = int(answer.client_msg_id[2:])
        if number in log.answered:
            self._wrong(f"two answers: {payload.decode()}")
        log.answered[number] = answer.conversation_id, answer.seq, answer.message_id
        self.unanswered -= 1
        if log.due[number] >= log.begin:
            log.sent_s.append(now - log.due[number])

    def _on_hello(self, socket: Socket) -> None:
        self._in = socket
        self._tell(self.inbox.connected())

    def _on_frame(self, payload: bytes) -> None:
        frame: dict[str, Any] = msgspec.json.decode(payload)
        kind = frame["type"]
        if kind in ("presence", "receipt", "typing"):
            self._log.seen[kind] += 1
        elif kind in ("error", "kick"):
            self._wrong(payload.decode())
        if answer := self.inbox.take(frame):
            self._tell(answer)
        if kind == "offline":
            self._tell({"type": "offline_ack", "batch_id": frame["batch_id"]})

    def _first(self, message: Frame, way: Way) -> None:
        self._log.seen[way] += 1
        if way != "live" or message["content_type"] != "text":
            return
        due = self._log.due[int(message["content"])]
        if due >= self._log.begin:
            self._log.delivered_s.append(clock() - due)

    def _tell(self, frame: Frame) -> None:
        assert self._in is not None
        self._in.write(text_frame(msgspec.json.encode(frame)))

    def _wrong(self, what: str) -> None:
        self._log.fail(f"{self.person.username}: {what}")


def missing(users: Sequence[User], log: Log) -> int:
    """How many copies of answered messages have not come to who should have them, and how many messages
    have no answer."""
    newest: dict[str, int] = {}
    for name, seq, _ in log.answered.values():
        newest[name] = max(seq, newest.get(name, 0))
    behind = sum(
        max(0, newest.get(name, 0) - received.upto)
        for user in users
        for name, received in user.inbox.of.items()
    )
    return behind + len(log.due) - len(log.answered)


def check(users: Sequence[User], log: Log) -> None:
    """Raises Failed unless each message has a place of its own, and everybody who should have it has it
    there."""
    places = {(name, seq): message_id for name, seq, message_id in log.answered.values()}
    if len(places) != len(log.due) or len(set(places.values())) != len(places):
        raise Failed("two messages have one place, or one message has two")
    readers: dict[str, list[tuple[User, Received]]] = {}
    for user in users:
        for name, received in user.inbox.of.items():
            readers.setdefault(name, []).append((user, received))
    for (name, seq), message_id in places.items():
        for user, received in readers[name]:
            if received.messages.get(seq) != message_id:
                raise Failed(f"{user.person.username} has not {message_id}, {name} {seq}")


async def until(reached: Callable[[], bool], limit_s: float, what: str) -> None:
    """Raises Failed when it is not so within the limit."""
    deadline = clock() + limit_s
    while not reached():
        if clock() > deadline:
            raise Failed(f"{what} after {limit_s:g} s")
        await asyncio.sleep(0.02)
