"""A device that receives one conversation through reconnections, and what it has of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from im_people import Device, User

from im_bench.inbox import Frame, Inbox, Way

RECONNECT_S = 0.2


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came first, and when (time.monotonic() seconds)."""

    way: Way
    at: float
    # Since when the connection was open that it came on.
    open_since: float


class Receiver:
    """An inbox on a WebSocket of its own."""

    def __init__(
        self,
        name: str,
        ws: Callable[[], str],
        user: User,
        conversation_id: str,
        problems: list[str],
    ) -> None:
        """``ws`` says where to connect, each time."""
        self.name = name
        self._ws = ws
        self._user = user
        self._conversation_id = conversation_id
        self._problems = problems
        self._open_since = 0.0
        self._inbox = Inbox([conversation_id], self._wrong, self._first)
        self.arrivals: dict[int, Arrival] = {}

    @property
    def received(self) -> Mapping[int, str]:
        """seq -> message_id."""
        return self._inbox.of[self._conversation_id].messages

    async def run(self, stay_s: Callable[[], float | None]) -> None:
        """Connects for so long, again and again; None is for as long as the connection lasts."""
        while True:
            try:
                async with await Device.connect(self._ws(), self._user) as device:
                    async with asyncio.timeout(stay_s()):
                        await self._read(device)
            except Exception:  # cut off, or not there yet, or enough
                await asyncio.sleep(RECONNECT_S)

    def late(self, sent_at: Mapping[int, float], limit_s: float) -> int:
        """How many came later than ``limit_s`` after their sender had the answer although the
        connection was open all the time. What was missed before it was open is for `sync`."""
        return sum(
            arrival.at - max(sent_at[seq], arrival.open_since) > limit_s
            for seq, arrival in self.arrivals.items()
            if seq in sent_at and (arrival.way != "sync" or sent_at[seq] > arrival.open_since)
        )

    async def _read(self, device: Device) -> None:
        self._open_since = time.monotonic()
        await device.send(**self._inbox.connected())
        async for frame in device.stream():
            if frame["type"] == "error":
                await asyncio.sleep(RECONNECT_S)
                await device.send(**self._inbox.sync())
            elif answer := self._inbox.take(frame):
                await device.send(**answer)

    def _first(self, message: Frame, way: Way) -> None:
        self.arrivals[message["seq"]] = Arrival(way, time.monotonic(), self._open_since)

    def _wrong(self, what: str) -> None:
        self._problems.append(
            f"{time.monotonic():.3f} {self.name} of {self._conversation_id}: {what}"
            f" (connected for {time.monotonic() - self._open_since:.1f} s)"
        )
