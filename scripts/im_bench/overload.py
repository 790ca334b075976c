"""More than the system can do, and then less: what is answered meanwhile, and how soon it is well.

First its capacity is measured; then --times as much is offered for --seconds, by clients that send
again what was refused when the answer says so, and what had no answer after 11 s; then half of the
capacity.
The run fails unless each message was stored once, and delivered once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import perf_counter as clock

import msgspec

from im_bench import machine
from im_bench.http import Client, call
from im_bench.load import connected
from im_bench.options import add_seconds, whole
from im_bench.pair import Pair, Window
from im_bench.people import Person, register
from im_bench.report import Failed, Row
from im_bench.ticks import ticks
from im_bench.websocket import Socket, connect, text_frame
from im_local.testing import Ready

WARM_UP_S = 2.0
MEASURE_S = 6.0
AFTER_S = 20.0
RESEND_AFTER_S = 11.0
TICK_S = 0.005
STANDSTILL_S = 40.0


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
    """What all clients together saw since the phase began."""

    sent: int = 0
    refused: int = 0
    silent: int = 0
    slowest_s: float = 0.0


@dataclass(slots=True)
class Talk:
    """A sender and a receiver. What is refused is sent again when its time has come, before anything
    new."""

    sender: Person
    receiver: Person
    tally: Tally = field(default_factory=Tally)
    offered: int = 0
    # Number -> when it went out last, until there is an answer to that.
    waiting: dict[int, float] = field(default_factory=dict)
    # (when, number): to be sent again.
    again: list[tuple[float, int]] = field(default_factory=list)
    # Number -> seq.
    placed: dict[int, int] = field(default_factory=dict)
    received: int = 0
    failure: str | None = None
    _out: Socket | None = None
    _in: Socket | None = None

    async def connect(self, url: str) -> None:
        self._out = await connect(url, self.sender.token, self._on_answer)
        self._in = await connect(url, self.receiver.token, self._on_message)

    def close(self) -> None:
        for socket in (self._out, self._in):
            if socket is not None:
                socket.close()

    @property
    def settled(self) -> bool:
        return len(self.placed) == self.offered == self.received

    @property
    def conversation_id(self) -> str:
        low, high = sorted((self.sender.user_id, self.receiver.user_id))
        return f"s:{low}:{high}"

    def send(self, now: float, *, new: bool = True) -> None:
        """The one whose turn it is, else a new one."""
        if self.again and self.again[0][0] <= now:
            self._put(heapq.heappop(self.again)[1], now)
        elif new:
            self.offered += 1
            self._put(self.offered, now)

    def resend_unanswered(self, now: float) -> None:
        while self.waiting:
            number, at = next(iter(self.waiting.items()))
            if at > now - RESEND_AFTER_S:
                return
            self.tally.silent += 1
            self._put(number, now)

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
            if self.placed.setdefault(number, frame.seq) != frame.seq:
                self.failure = f"message {number} was moved to {frame.seq}"
            self.tally.sent += 1
        elif frame.code in ("UNAVAILABLE", "RATE_LIMITED"):
            self.tally.refused += 1
            heapq.heappush(self.again, (now + frame.retry_after_ms / 1000, number))
        else:
            self.failure = payload.decode()

    def _on_message(self, payload: bytes) -> None:
        frame = _decoder.decode(payload)
        if frame.type == "message":
            self.received += 1
            if frame.seq != self.received:
                self.failure = self.failure or f"{frame.seq} came after {self.received - 1}"

    def check(self) -> None:
        ended = [s.ended for s in (self._out, self._in) if s is not None and s.ended]
        if self.failure or ended:
            raise Failed(f"{self.conversation_id}: {self.failure or ended[0]}")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.set_defaults(seconds=30.0)
    parser.add_argument("--pairs", type=whole(), default=100, help="of senders and receivers")
    parser.add_argument("--times", type=whole(), default=3, help="the capacity is offered")


def longest_s(options: argparse.Namespace) -> float:
    return float(options.seconds) + WARM_UP_S + MEASURE_S + AFTER_S + 120.0


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    cores = machine.keep_a_core(ready.pids.values())
    people = await register(ready.api, 4 * options.pairs)
    half = 2 * options.pairs
    capacity = await _capacity(ready, people[:half])
    talks = [Talk(people[half + 2 * i], people[half + 2 * i + 1]) for i in range(options.pairs)]
    await asyncio.gather(*(talk.connect(ready.ws) for talk in talks))
    try:
        during = await _offer(talks, options.times * capacity, options.seconds)
        after = await _offer(talks, capacity / 2, AFTER_S)
        settled_s = await _settle(talks)
    finally:
        for talk in talks:
            talk.close()
    await _check_stored(ready.api, talks)
    goodput = during.sent / options.seconds
    return [
        ("cores", f"{cores} for the system, one for the load generator"),
        ("capacity", f"{capacity:.0f} a second"),
        ("offered", f"{options.times} times that for {options.seconds:g} s, then half of it"),
        ("sent meanwhile", f"{goodput:.0f} a second, {goodput / capacity:.0%} of the capacity"),
        ("refused meanwhile", f"{during.refused / options.seconds:.0f} a second"),
        ("slowest answer", f"{during.slowest_s:.2f} s, then {after.slowest_s:.2f} s"),
        ("without an answer", f"{during.silent}, then {after.silent}"),
        ("sent after", f"{after.sent / AFTER_S:.0f} a second, {after.refused} refused"),
        ("all answered", f"{settled_s:.1f} s after the end"),
        ("checked", f"all {sum(t.offered for t in talks)}: once, in order, stored"),
    ]


async def _capacity(ready: Ready, people: Sequence[Person]) -> float:
    window = Window()
    pairs = [Pair(people[i], people[i + 1], window) for i in range(0, len(people), 2)]
    async with connected(ready.ws, pairs):
        window.begin = clock() + WARM_UP_S
        window.end = window.begin + MEASURE_S
        for pair in pairs:
            pair.keep_in_flight(16)
        await asyncio.sleep(WARM_UP_S + MEASURE_S)
        await _all_settled(pairs)
    return window.sent / MEASURE_S


async def _offer(talks: Sequence[Talk], rate: float, seconds: float) -> Tally:
    """Frames a second in all: those that are sent again count."""
    tally = Tally()
    for talk in talks:
        talk.tally = tally
    begin, offered = clock(), 0
    async with aclosing(ticks(TICK_S)) as clockwork:
        async for _ in clockwork:
            now = clock()
            if now >= begin + seconds:
                return tally
            # What this process could not do in time is not made up for in one go.
            due = int((now - begin) * rate)
            for i in range(max(offered, due - int(rate / 10)), due):
                talks[i % len(talks)].send(now)
            offered = due
            for talk in talks:
                talk.resend_unanswered(now)
                talk.check()
    return tally


async def _settle(talks: Sequence[Talk]) -> float:
    began = clock()
    state, since = (0, 0), clock()
    while not all(talk.settled for talk in talks):
        now = clock()
        for talk in talks:
            talk.check()
            talk.resend_unanswered(now)
            while talk.again and talk.again[0][0] <= now:
                talk.send(now, new=False)
        reached = (sum(len(t.placed) for t in talks), sum(t.received for t in talks))
        if reached != state:
            state, since = reached, now
        if now > since + STANDSTILL_S:
            raise Failed(f"{sum(t.offered for t in talks) - state[1]} messages do not arrive")
        await asyncio.sleep(TICK_S)
    return clock() - began


async def _all_settled(pairs: Sequence[Pair]) -> None:
    deadline = clock() + STANDSTILL_S
    while not all(pair.settled for pair in pairs):
        for pair in pairs:
            pair.raise_failure()
        if clock() > deadline:
            raise Failed("the capacity could not be measured")
        await asyncio.sleep(TICK_S)


async def _check_stored(api: str, talks: Sequence[Talk]) -> None:
    client = await Client.connect(api)
    for talk in talks:
        if sorted(talk.placed.values()) != list(range(1, talk.offered + 1)):
            raise Failed(f"{talk.conversation_id}: seq is not 1 to {talk.offered}")
        path = f"/v1/conversations/{talk.conversation_id}/messages?limit=1"
        page = await call(client, "GET", path, token=talk.sender.token)
        if talk.offered and page["items"][-1]["seq"] != talk.offered:
            raise Failed(f"{talk.conversation_id}: more is stored than was sent")
    client.close()
