"""A device that receives one conversation through reconnections, and what it has of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from im_client import Device, Frame, User

RECONNECT_S = 0.2

Way = Literal["live", "list", "sync"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came first, and when (time.monotonic() seconds)."""

    way: Way
    at: float
    # Since when the connection was open that it came on.
    open_since: float


class Receiver:
    """Does as an application does: it syncs once when it connects, for what it missed while it was
    away, and asks for nothing as long as the connection lasts: what is sent then is owed to it.

    Notes in ``problems`` when a connection is sent a message twice, after a younger one, or not at all
    (the next one is there and it is not).
    """

    def __init__(
        self, name: str, ws: str, user: User, conversation_id: str, problems: list[str]
    ) -> None:
        self.name = name
        self._ws = ws
        self._user = user
        self._conversation_id = conversation_id
        self._problems = problems
        # Whether what came before this connection is still being asked for.
        self._catching_up = False
        self._open_since = 0.0
        # seq -> message_id.
        self.received: dict[int, str] = {}
        self.arrivals: dict[int, Arrival] = {}
        # All from 1 to this are there.
        self.upto = 0

    async def run(self, stay_s: Callable[[], float | None]) -> None:
        """Connects for so long, again and again; None is for as long as the connection lasts."""
        while True:
            try:
                async with await Device.connect(self._ws, self._user) as device:
                    async with asyncio.timeout(stay_s()):
                        await self._read(device)
            except Exception:  # cut off, or not there yet, or enough
                await asyncio.sleep(RECONNECT_S)

    def late(self, sent_at: Mapping[int, float], limit_s: float) -> int:
        """How many came later than ``limit_s`` after their sender had the answer although the
        connection was open all the time."""
        return sum(
            1
            for seq, arrival in self.arrivals.items()
            if seq in sent_at and arrival.at - max(sent_at[seq], arrival.open_since) > limit_s
        )

    async def _read(self, device: Device) -> None:
        last, self._open_since = 0, time.monotonic()
        await self._sync(device)
        async for frame in device.stream():
            if frame["type"] == "sync":
                await self._synced(device, frame)
            elif frame["type"] == "error":
                await asyncio.sleep(RECONNECT_S)
                await self._sync(device)
            way: Way = "list" if frame["type"] == "offline" else "live"
            for message in frame.get("frames", [frame] if frame["type"] == "message" else []):
                seq = message["seq"]
                if seq <= last:
                    self._wrong(f"{seq} ({way}) after {last}")
                last = seq
                self._take(message, way)
                if not self._catching_up and seq > self.upto:
                    self._wrong(f"{seq} ({way}), but not {self.upto + 1}")
                    await self._sync(device)

    async def _sync(self, device: Device) -> None:
        self._catching_up = True
        await device.send(type="sync", cursors={self._conversation_id: self.upto}, limit=500)

    async def _synced(self, device: Device, frame: Frame) -> None:
        for conversation in frame["conversations"]:
            if conversation["conversation_id"] == self._conversation_id:
                for message in conversation["messages"]:
                    self._take(message, "sync")
        if frame["has_more"]:
            await self._sync(device)
            return
        self._catching_up = False
        if self.received and self.upto < max(self.received):
            self._wrong(f"{self.upto + 1} is missing after all was synced")

    def _take(self, message: Frame, way: Way) -> None:
        seq, message_id = message["seq"], message["message_id"]
        if seq not in self.received:
            self.arrivals[seq] = Arrival(way, time.monotonic(), self._open_since)
        if self.received.setdefault(seq, message_id) != message_id:
            self._wrong(f"{seq} is two messages")
        while self.upto + 1 in self.received:
            self.upto += 1

    def _wrong(self, what: str) -> None:
        self._problems.append(
            f"{time.monotonic():.3f} {self.name} of {self._conversation_id}: {what}"
            f" (connected for {time.monotonic() - self._open_since:.1f} s)"
        )
