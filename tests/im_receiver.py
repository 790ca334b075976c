"""A device that receives one conversation through reconnections, and what it has of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from im_client import Device, Frame, User

RECONNECT_S = 0.2


class Receiver:
    """Checks that no connection is sent a message twice or after a younger one.

    With ``syncs`` it does as an application that comes and goes: what it missed while it was away,
    and a gap in ``seq``, it fills by `sync`.
    """

    def __init__(
        self, ws: str, user: User, conversation_id: str, problems: list[str], *, syncs: bool
    ) -> None:
        self._ws = ws
        self._user = user
        self._conversation_id = conversation_id
        self._problems = problems
        self._syncs = syncs
        self._asked = False
        # seq -> message_id.
        self.received: dict[int, str] = {}
        # All from 1 to this are there.
        self.upto = 0
        # How often an open connection, with nothing to sync, skipped a message.
        self.gaps = 0

    async def run(self, stay_s: Callable[[], float | None]) -> None:
        """Connects for so long, again and again; None is for as long as the connection lasts."""
        while True:
            try:
                async with await Device.connect(self._ws, self._user) as device:
                    async with asyncio.timeout(stay_s()):
                        await self._read(device)
            except Exception:  # cut off, or not there yet, or enough
                await asyncio.sleep(RECONNECT_S)

    def take(self, message: Frame) -> None:
        seq, message_id = message["seq"], message["message_id"]
        if self.received.setdefault(seq, message_id) != message_id:
            self._problems.append(f"seq {seq} is two messages")
        while self.upto + 1 in self.received:
            self.upto += 1

    async def _read(self, device: Device) -> None:
        last, self._asked = 0, False
        if self._syncs:
            await self._sync(device)
        async for frame in device.stream():
            if frame["type"] == "sync":
                await self._synced(device, frame)
                continue
            if self._syncs and frame["type"] == "error":
                await asyncio.sleep(RECONNECT_S)
                await self._sync(device)
            live = [frame] if frame["type"] == "message" else []
            for message in frame.get("frames", live):
                seq = message["seq"]
                if seq <= last:
                    how = "live" if live else "out of the list"
                    self._problems.append(f"{seq} {how} after {last}")
                last = seq
                self.take(message)
                if self._syncs and not self._asked and seq > self.upto:
                    self.gaps += 1
                    await self._sync(device)

    async def _sync(self, device: Device) -> None:
        self._asked = True
        await device.send(type="sync", cursors={self._conversation_id: self.upto})

    async def _synced(self, device: Device, frame: Frame) -> None:
        for conversation in frame["conversations"]:
            for message in conversation["messages"]:
                self.take(message)
        if frame["has_more"]:
            await self._sync(device)
        else:
            self._asked = False
