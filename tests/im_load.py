"""A steady load of clients that behave as the contract asks: they send again what was not answered,
wait as long as an error says, and connect again when they are cut off."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
from im_people import Device, User, make_group, register, single
from im_receiver import RECONNECT_S, Receiver

from im_local.testing import System

# The contract has an answer for everything after 10 s; who is told nothing sends again.
RESEND_AFTER_S = 11.0
# When nothing at all has changed for so long, it never will.
STANDSTILL_S = 60.0
LATE_S = 1.0


@dataclass(slots=True)
class Open:
    """A message without `sent`."""

    again_at: float
    # Whether an error said so; else it is sent again because nothing was said.
    refused: bool = False


@dataclass
class Pair:
    """A sends, and sees that on another device, too; B receives on a device that is always on and on
    a phone that comes and goes. Some talk in a group of their own."""

    a: User
    b: User
    group_id: int | None
    device: Receiver
    phone: Receiver
    copy: Receiver
    # By client_msg_id.
    open: dict[str, Open] = field(default_factory=dict)
    # client_msg_id -> (seq, message_id)
    placed: dict[str, tuple[int, str]] = field(default_factory=dict)
    # seq -> when its sender was told.
    sent_at: dict[int, float] = field(default_factory=dict)
    # What the history says of the group: first, that it was made.
    said: list[dict[str, Any]] = field(default_factory=list)

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        return self.device, self.phone, self.copy

    @property
    def conversation_id(self) -> str:
        return _conversation(self.a, self.b, self.group_id)

    @property
    def target(self) -> dict[str, int]:
        return {"group_id": self.group_id} if self.group_id else {"to": self.b.user_id}

    @property
    def is_received(self) -> bool:
        count = len(self.placed) + len(self.said)
        return all(len(r.received) >= count for r in self.receivers)

    @property
    def late(self) -> int:
        return sum(receiver.late(self.sent_at, LATE_S) for receiver in self.receivers)


class Load:
    """``rate`` messages a second in all, over some pairs, from `start` to `finish`."""

    def __init__(
        self,
        system: System,
        http: httpx.AsyncClient,
        *,
        pairs: int,
        rate: int,
        stay_s: tuple[float, float] = (0.5, 3.0),
    ) -> None:
        """``stay_s``: for how long, at least and at most, each phone is connected at a time."""
        self._system = system
        self._http = http
        self._pairs_wanted = pairs
        self._pause_s = pairs / rate
        self._stay_s = stay_s
        self._sending = True
        self._tasks: list[asyncio.Task[None]] = []
        self.pairs: list[Pair] = []
        # time.monotonic() of each first `sent`.
        self.sent_at: list[float] = []
        # Errors that asked to try again later, by code.
        self.refused: dict[str, int] = {}
        # Frames without any answer although their connection lasted.
        self.silent = 0
        self.problems: list[str] = []
        # What a test says of the run, with what is known at its end.
        self.what, self._since = "", time.monotonic()
        # What was on its way to the sockets then is lost, but for `sync`.
        self.gateway_died = False
        # So long that it was given up.
        self.gateway_stood_still = False

    def watch(
        self, what: str, *, gateway_dies: bool = False, gateway_stands_still: bool = False
    ) -> None:
        """From now on the longest time without a `sent` counts, for ``report``."""
        self.what, self._since = what, time.monotonic()
        self.gateway_died, self.gateway_stood_still = gateway_dies, gateway_stands_still

    def report(self) -> str:
        return (
            f"{self.what}: at most {self.longest_pause_s(self._since):.1f} s without a `sent`;"
            f" {self.total()} sent, {self.late()} came late; refused {self.refused or 'none'},"
            f" {self.silent} without an answer"
        )

    async def start(self) -> None:
        for number in range(self._pairs_wanted):
            self.pairs.append(await self._pair(in_group=number % 3 == 2))
        for pair in self.pairs:
            for running in (
                pair.device.run(lambda: None),
                pair.copy.run(lambda: None),
                pair.phone.run(lambda: random.uniform(*self._stay_s) if self._sending else None),
                self._send(pair),
            ):
                self._tasks.append(asyncio.create_task(running))

    async def _pair(self, *, in_group: bool) -> Pair:
        a, b = await register(self._http), await register(self._http)
        group_id = await make_group(a, b) if in_group else None
        conversation_id = _conversation(a, b, group_id)
        device, phone, copy = (
            Receiver(name, self._system.any_ws, user, conversation_id, self.problems)
            for name, user in (("device", b), ("phone", b), ("copy", a))
        )
        said = [{"event": "group_created", "name": "team"}] if in_group else []
        return Pair(a, b, group_id, device, phone, copy, said=said)

    async def run_for(self, seconds: float) -> None:
        """Lets the load run; fails at once when a client saw something that must not be."""
        await asyncio.sleep(seconds)
        assert not self.problems, self.problems[:5]

    async def sent_after(self, moment: float) -> None:
        """Waits until every pair could send again after ``moment``."""
        await self._until(
            lambda: sum(1 for at in reversed(self.sent_at) if at > moment) >= 3 * len(self.pairs)
        )

    async def finish(self) -> None:
        """Stops sending, waits until all is answered and received, and checks the count."""
        self._sending = False
        await self._until(lambda: not any(pair.open for pair in self.pairs))
        await self._until(lambda: all(pair.is_received for pair in self.pairs))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._check()

    async def _until(self, done: Callable[[], bool]) -> None:
        """Waits as long as anything changes."""
        state, since = self._state(), time.monotonic()
        while not done():
            if (now := self._state()) != state:
                state, since = now, time.monotonic()
            assert time.monotonic() < since + STANDSTILL_S, (state, self.problems[:5])
            await asyncio.sleep(0.05)

    def _state(self) -> list[tuple[int, ...]]:
        """Without an answer, placed, and what each device has, for each pair."""
        return [
            (len(p.open), len(p.placed), *(len(r.received) for r in p.receivers))
            for p in self.pairs
        ]

    async def _check(self) -> None:
        assert not self.problems, (len(self.problems), self.problems[:5])
        for pair in self.pairs:
            history = await pair.b.history(pair.conversation_id)
            seqs = [message["seq"] for message in history]
            assert seqs == list(range(1, len(seqs) + 1)), "seq has a gap"
            stored = {message["seq"]: message["message_id"] for message in history}
            sent = dict(pair.placed.values()) | {
                m["seq"]: m["message_id"] for m in history if m["content_type"] == "system"
            }
            assert stored == sent, (len(stored), len(sent))
            for receiver in pair.receivers:
                assert receiver.received == stored, (len(receiver.received), len(stored))

    def total(self) -> int:
        return sum(len(pair.placed) for pair in self.pairs)

    def late(self) -> int:
        """Messages that a device which was connected got more than LATE_S after their `sent`."""
        return sum(pair.late for pair in self.pairs)

    def longest_pause_s(self, since: float) -> float:
        """The longest time without a `sent` from the moment ``since`` on."""
        moments = [since, *(at for at in self.sent_at if at > since)]
        return max((b - a for a, b in pairwise(moments)), default=0.0)

    async def _send(self, pair: Pair) -> None:
        number = 0
        while self._sending or pair.open:
            try:
                async with await Device.connect(self._system.any_ws(), pair.a) as device:
                    reading = asyncio.create_task(self._answers(pair, device))
                    for client_msg_id in list(pair.open):
                        await self._put(pair, device, client_msg_id)
                    due = time.monotonic()
                    while (self._sending or pair.open) and not reading.done():
                        if self._sending:
                            number += 1
                            await self._put(pair, device, f"{number}-{secrets.token_hex(4)}")
                        await self._put_again(pair, device)
                        # A rate, whatever a turn takes; what could not be sent is not made up for.
                        due = max(due + self._pause_s, time.monotonic() - 1.0)
                        await asyncio.sleep(due - time.monotonic())
                    reading.cancel()
            except Exception:  # cut off, or not there yet
                await asyncio.sleep(RECONNECT_S)

    async def _put(self, pair: Pair, device: Device, client_msg_id: str) -> None:
        pair.open[client_msg_id] = Open(time.monotonic() + RESEND_AFTER_S)
        await device.send(
            type="chat", content=client_msg_id, client_msg_id=client_msg_id, **pair.target
        )

    async def _put_again(self, pair: Pair, device: Device) -> None:
        now = time.monotonic()
        for client_msg_id, opened in list(pair.open.items()):
            if opened.again_at < now:
                self.silent += not opened.refused
                await self._put(pair, device, client_msg_id)

    async def _answers(self, pair: Pair, device: Device) -> None:
        async for frame in device.stream():
            client_msg_id = str(frame.get("client_msg_id"))
            if frame["type"] == "sent":
                place = (frame["seq"], frame["message_id"])
                if pair.placed.setdefault(client_msg_id, place) != place:
                    self.problems.append(f"{client_msg_id} was moved to {place}")
                if pair.open.pop(client_msg_id, None) is not None:
                    now = time.monotonic()
                    self.sent_at.append(now)
                    pair.sent_at[frame["seq"]] = now
            elif frame["type"] == "error" and client_msg_id in pair.open:
                code = frame["code"]
                self.refused[code] = self.refused.get(code, 0) + 1
                if code not in ("UNAVAILABLE", "RATE_LIMITED"):
                    self.problems.append(f"unexpected {frame}")
                # Sent again by the sender's loop when the time has come.
                wait_s = frame.get("retry_after_ms", 1000) / 1000
                pair.open[client_msg_id] = Open(time.monotonic() + wait_s, refused=True)


def _conversation(a: User, b: User, group_id: int | None) -> str:
    return f"g:{group_id}" if group_id else single(a, b)
