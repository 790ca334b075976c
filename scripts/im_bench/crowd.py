"""Clients that want more than the system can do. They do as the contract says: what is refused they
send again when the answer says so, what has no answer after 11 s they send again, too, and where they
are cut off they connect again and sync."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from time import perf_counter as clock
from typing import Any

import msgspec

from im_bench.acks import ack_frame, keep_acknowledging
from im_bench.http import Client, call
from im_bench.inbox import Inbox, Received
from im_bench.people import Person
from im_bench.report import Failed
from im_bench.ticks import ticks
from im_bench.websocket import Socket, connect, text_frame
from im_common.domain.ids import single_conversation

RESEND_AFTER_S = 11.0
RECONNECT_S = 0.2
TICK_S = 0.005
STANDSTILL_S = 60.0


class _Frame(msgspec.Struct):
    type: str
    seq: int = 0
    message_id: str = ""
    client_msg_id: str = ""
    retry_after_ms: int = 1000
    code: str = ""


_decoder = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class Tally:
    """What all clients together saw in one phase."""

    sent: int = 0
    refused: int = 0
    # Without an answer although their connection lasted.
    silent: int = 0
    slowest_s: float = 0.0


@dataclass(slots=True)
class Talk:
    """A sender and a receiver, each on a connection of its own."""

    sender: Person
    receiver: Person
    inbox: Inbox = field(init=False)
    tally: Tally = field(default_factory=Tally)
    offered: int = 0
    # Number -> when it went out last, until there is an answer to that.
    waiting: dict[int, float] = field(default_factory=dict)
    # (when, number): to be sent again.
    again: list[tuple[float, int]] = field(default_factory=list)
    # Number -> (seq, message_id).
    placed: dict[int, tuple[int, str]] = field(default_factory=dict)
    failure: str | None = None
    _acknowledged: int = 0
    _out: Socket | None = None
    _in: Socket | None = None

    def __post_init__(self) -> None:
        self.inbox = Inbox([self.conversation_id], self._wrong)

    @property
    def received(self) -> Received:
        return self.inbox.of[self.conversation_id]

    @property
    def settled(self) -> bool:
        return len(self.placed) == self.offered == len(self.received.messages)

    @property
    def conversation_id(self) -> str:
        return single_conversation(self.sender.user_id, self.receiver.user_id)

    async def keep_sending(self, url: str) -> None:
        """Holds the sender's connection, for ever."""
        while True:
            with suppress(Failed, OSError, TimeoutError):
                self._out = await connect(url, self.sender.token, self._on_answer)
                await self._out.over
            self._out = None
            # Nobody will answer these.
            for number in list(self.waiting):
                del self.waiting[number]
                heapq.heappush(self.again, (clock(), number))
            await asyncio.sleep(RECONNECT_S)

    async def keep_receiving(self, url: str) -> None:
        """Holds the receiver's connection, for ever."""
        while True:
            with suppress(Failed, OSError, TimeoutError):
                token = self.receiver.token
                await (await connect(url, token, self._on_frame, self._on_hello)).over
            await asyncio.sleep(RECONNECT_S)

    @property
    def connected(self) -> bool:
        return all(socket is not None and socket.ended is None for socket in (self._out, self._in))

    def close(self) -> None:
        for socket in (self._out, self._in):
            if socket is not None:
                socket.close()

    def send(self, now: float, *, new: bool = True) -> None:
        """The one whose turn it is, else a new one; nothing while it is cut off."""
        if self._out is None:
            return
        if self.again and self.again[0][0] <= now:
            self._put(heapq.heappop(self.again)[1], now)
        elif new:
            self.offered += 1
            self._put(self.offered, now)

    def resend_unanswered(self, now: float) -> None:
        while self.waiting and self._out is not None:
            number, at = next(iter(self.waiting.items()))
            if at > now - RESEND_AFTER_S:
                return
            self.tally.silent += 1
            self.tally.slowest_s = max(self.tally.slowest_s, now - at)
            self._put(number, now)

    def acknowledge(self) -> None:
        """The receiver says what it has without a gap, when that is more than it said."""
        upto = self.received.upto
        if self._in is not None and self._in.ended is None and upto > self._acknowledged:
            self._acknowledged = upto
            self._in.write(ack_frame(self.conversation_id.encode(), upto))

    def check(self) -> None:
        if self.failure:
            raise Failed(f"{self.conversation_id}: {self.failure}")

    async def check_stored(self, client: Client) -> None:
        places = sorted(self.placed.values())
        if [seq for seq, _ in places] != list(range(1, self.offered + 1)):
            raise Failed(f"{self.conversation_id}: seq is not 1 to {self.offered}")
        if dict(places) != self.received.messages:
            raise Failed(f"{self.conversation_id}: what was received is not what was sent")
        path = f"/v1/conversations/{self.conversation_id}/messages?limit=1"
        page = await call(client, "GET", path, token=self.sender.token)
        if self.offered and page["items"][-1]["seq"] != self.offered:
            raise Failed(f"{self.conversation_id}: more is stored than was sent")

    def _put(self, number: int, now: float) -> None:
        self.waiting.pop(number, None)
        self.waiting[number] = now
        assert self._out is not None
        self._out.write(
            text_frame(
                b'{"type":"chat","to":%d,"client_msg_id":"o-%d","content":"%064d"}'
                % (self.receiver.user_id, number, number)
            )
        )

    def _on_answer(self, payload: bytes) -> None:
        frame, now = _decoder.decode(payload), clock()
        if frame.type not in ("sent", "error"):
            return
        number = int(frame.client_msg_id[2:] or 0)
        at = self.waiting.pop(number, None)
        if at is not None:
            self.tally.slowest_s = max(self.tally.slowest_s, now - at)
        if frame.type == "sent":
            place = frame.seq, frame.message_id
            if self.placed.setdefault(number, place) != place:
                self._wrong(f"message {number} was moved to {frame.seq}")
            self.tally.sent += 1
        elif frame.code not in ("UNAVAILABLE", "RATE_LIMITED"):
            self._wrong(payload.decode())
        elif at is not None:
            self.tally.refused += 1
            heapq.heappush(self.again, (now + frame.retry_after_ms / 1000, number))

    def _on_hello(self, socket: Socket) -> None:
        self._in = socket
        self._say(self.inbox.connected())

    def _on_frame(self, payload: bytes) -> None:
        frame: dict[str, Any] = msgspec.json.decode(payload)
        if answer := self.inbox.take(frame):
            self._say(answer)
        if frame["type"] == "offline":
            self._say({"type": "offline_ack", "batch_id": frame["batch_id"]})
        if frame["type"] == "error":
            asyncio.get_running_loop().call_later(RECONNECT_S, self._sync_again, self._in)

    def _sync_again(self, socket: Socket | None) -> None:
        """It was refused, as there is too much to do."""
        if socket is not None and socket is self._in and socket.ended is None:
            self._say(self.inbox.sync())

    def _say(self, frame: Any) -> None:
        assert self._in is not None
        self._in.write(text_frame(msgspec.json.encode(frame)))

    def _wrong(self, what: str) -> None:
        self.failure = self.failure or what


class Crowd:
    """Use as ``async with``: all are connected in the block."""

    def __init__(self, url: str, people: Sequence[Person]) -> None:
        self._url = url
        self.talks = [Talk(people[i], people[i + 1]) for i in range(0, len(people), 2)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crowd:
        for talk in self.talks:
            self._tasks.append(asyncio.create_task(talk.keep_sending(self._url)))
            self._tasks.append(asyncio.create_task(talk.keep_receiving(self._url)))
        receivers = [talk.acknowledge for talk in self.talks]
        self._tasks.append(asyncio.create_task(keep_acknowledging(1, receivers)))
        async with asyncio.timeout(STANDSTILL_S):
            while not all(talk.connected for talk in self.talks):
                await asyncio.sleep(TICK_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for talk in self.talks:
            talk.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def offered(self) -> int:
        return sum(talk.offered for talk in self.talks)

    async def offer(self, rate: float, seconds: float) -> Tally:
        """Frames a second in all: those that are sent again count."""
        tally = Tally()
        for talk in self.talks:
            talk.tally = tally
        begin, offered = clock(), 0
        async with aclosing(ticks(TICK_S)) as clockwork:
            async for _ in clockwork:
                now = clock()
                if now >= begin + seconds:
                    break
                # What this process could not do in time is not made up for in one go.
                due = int((now - begin) * rate)
                for i in range(max(offered, due - int(rate / 10)), due):
                    self.talks[i % len(self.talks)].send(now)
                offered = due
                for talk in self.talks:
                    talk.resend_unanswered(now)
                    talk.check()
        return tally

    async def settle(self) -> float:
        """Sends again until all is sent and received; the seconds that took. Raises Failed."""
        began = clock()
        state, since = (0, 0), began
        while not all(talk.settled for talk in self.talks):
            now = clock()
            for talk in self.talks:
                talk.check()
                talk.resend_unanswered(now)
                while talk.again and talk.again[0][0] <= now and talk.connected:
                    talk.send(now, new=False)
            if (reached := self._reached()) != state:
                state, since = reached, now
            if now > since + STANDSTILL_S:
                raise Failed(f"{self.offered - min(state)} messages do not arrive")
            await asyncio.sleep(TICK_S)
        return clock() - began

    async def check(self, api: str) -> None:
        """All that was sent is stored and received once, and in order. Raises Failed."""
        client = await Client.connect(api)
        for talk in self.talks:
            talk.check()
            await talk.check_stored(client)
        client.close()

    def _reached(self) -> tuple[int, int]:
        return sum(self._counts()), sum(len(talk.received.messages) for talk in self.talks)

    def _counts(self) -> Iterator[int]:
        return (len(talk.placed) for talk in self.talks)
