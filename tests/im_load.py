"""A steady load of clients that behave as the contract asks: they send again what was not answered,
connect again when they are cut off, and fill gaps from the history."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
from im_client import Device, User, make_group, register, single
from im_receiver import RECONNECT_S, Receiver

from im_local.testing import System

RESEND_AFTER_S = 11.0


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
    # client_msg_id -> when it was (last) sent; only those without an answer.
    open: dict[str, float] = field(default_factory=dict)
    # client_msg_id -> (seq, message_id)
    placed: dict[str, tuple[int, str]] = field(default_factory=dict)

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
        return all(len(r.received) >= len(self.placed) for r in self.receivers)


class Load:
    """``rate`` messages a second in all, over some pairs, from `start` to `finish`."""

    def __init__(self, system: System, http: httpx.AsyncClient, *, pairs: int, rate: int) -> None:
        self._system = system
        self._http = http
        self._pairs_wanted = pairs
        self._rate = rate
        self._sending = True
        self._tasks: list[asyncio.Task[None]] = []
        self.pairs: list[Pair] = []
        # time.monotonic() of each first `sent`.
        self.sent_at: list[float] = []
        self.problems: list[str] = []

    async def start(self) -> None:
        for number in range(self._pairs_wanted):
            pair = await self._pair(in_group=number % 3 == 2)
            self.pairs.append(pair)
            for running in (
                pair.device.run(lambda: None),
                pair.copy.run(lambda: None),
                pair.phone.run(lambda: random.uniform(0.5, 3) if self._sending else None),
                self._send(pair),
            ):
                self._tasks.append(asyncio.create_task(running))

    async def _pair(self, *, in_group: bool) -> Pair:
        a, b = await register(self._http), await register(self._http)
        group_id = await make_group(a, b) if in_group else None
        conversation_id = _conversation(a, b, group_id)
        device, phone, copy = (
            Receiver(self._system.ready.ws, user, conversation_id, self.problems, syncs=syncs)
            for user, syncs in ((b, False), (b, True), (a, True))
        )
        return Pair(a, b, group_id, device, phone, copy)

    async def run_for(self, seconds: float) -> None:
        """Lets the load run; fails at once when a client saw something that must not be."""
        await asyncio.sleep(seconds)
        assert not self.problems, self.problems[:5]

    async def sent_after(self, moment: float, *, limit_s: float = 40) -> None:
        """Waits until every pair could send again after ``moment``."""
        deadline = time.monotonic() + limit_s
        while sum(1 for at in reversed(self.sent_at) if at > moment) < 3 * len(self.pairs):
            assert time.monotonic() < deadline, f"nothing was sent for {limit_s} s"
            await asyncio.sleep(0.05)

    async def finish(self, *, limit_s: float = 60) -> None:
        """Stops sending, waits until all is answered and received, and checks the count."""
        self._sending = False
        deadline = time.monotonic() + limit_s
        while any(pair.open for pair in self.pairs):
            assert time.monotonic() < deadline, [len(pair.open) for pair in self.pairs]
            await asyncio.sleep(0.05)
        while not all(pair.is_received for pair in self.pairs):
            if time.monotonic() > deadline - limit_s / 2:
                # What a device finds with its next sync.
                for pair in self.pairs:
                    await self._fill(pair)
            assert time.monotonic() < deadline, [
                (len(p.placed), *(len(r.received) for r in p.receivers)) for p in self.pairs
            ]
            await asyncio.sleep(0.1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._check()

    async def _check(self) -> None:
        assert not self.problems, self.problems[:5]
        for pair in self.pairs:
            history = await pair.b.history(pair.conversation_id)
            seqs = [message["seq"] for message in history]
            assert seqs == list(range(1, len(seqs) + 1)), "seq has a gap"
            stored = {message["seq"]: message["message_id"] for message in history}
            sent = dict(pair.placed.values())
            assert stored == sent, (len(stored), len(sent))
            for receiver in pair.receivers:
                assert receiver.received == stored, (len(receiver.received), len(stored))

    def total(self) -> int:
        return sum(len(pair.placed) for pair in self.pairs)

    def longest_pause_s(self, since: float) -> float:
        """The longest time without a `sent` from the moment ``since`` on."""
        moments = [since, *(at for at in self.sent_at if at > since)]
        return max((b - a for a, b in pairwise(moments)), default=0.0)

    async def _send(self, pair: Pair) -> None:
        number = 0
        pause = len(self.pairs) / self._rate
        while self._sending or pair.open:
            try:
                async with await Device.connect(self._system.ready.ws, pair.a) as device:
                    reading = asyncio.create_task(self._answers(pair, device))
                    for client_msg_id in list(pair.open):
                        await self._put(pair, device, client_msg_id)
                    while (self._sending or pair.open) and not reading.done():
                        if self._sending:
                            number += 1
                            await self._put(pair, device, f"{number}-{secrets.token_hex(4)}")
                        late = time.monotonic() - RESEND_AFTER_S
                        for client_msg_id in [c for c, at in pair.open.items() if at < late]:
                            await self._put(pair, device, client_msg_id)
                        await asyncio.sleep(pause)
                    reading.cancel()
            except Exception:  # cut off, or not there yet
                await asyncio.sleep(RECONNECT_S)

    async def _put(self, pair: Pair, device: Device, client_msg_id: str) -> None:
        pair.open[client_msg_id] = time.monotonic()
        await device.send(
            type="chat", content=client_msg_id, client_msg_id=client_msg_id, **pair.target
        )

    async def _answers(self, pair: Pair, device: Device) -> None:
        async for frame in device.stream():
            client_msg_id = str(frame.get("client_msg_id"))
            if frame["type"] == "sent":
                place = (frame["seq"], frame["message_id"])
                if pair.placed.setdefault(client_msg_id, place) != place:
                    self.problems.append(f"{client_msg_id} was moved to {place}")
                if pair.open.pop(client_msg_id, None) is not None:
                    self.sent_at.append(time.monotonic())
            elif frame["type"] == "error" and client_msg_id in pair.open:
                if frame["code"] not in ("UNAVAILABLE", "RATE_LIMITED"):
                    self.problems.append(f"unexpected {frame}")
                # Sent again by the sender's loop when the time has come.
                wait_s = frame.get("retry_after_ms", 0) / 1000
                pair.open[client_msg_id] = time.monotonic() - RESEND_AFTER_S + wait_s

    async def _fill(self, pair: Pair) -> None:
        try:
            for message in await pair.b.history(pair.conversation_id):
                pair.device.take(message)
        except (httpx.HTTPError, AssertionError):
            return


def _conversation(a: User, b: User, group_id: int | None) -> str:
    return f"g:{group_id}" if group_id else single(a, b)
