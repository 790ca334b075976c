"""A device that listens for what is told of changes, and comes back when it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from im_people import Device, Frame, User

RETRY_S = 0.1


@dataclass
class Ears:
    """What a device was told, over all its connections."""

    # As they came first, and on which connection.
    events: list[Frame] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    # Whether each was in the offline list.
    were_listed: list[bool] = field(default_factory=list)
    # Those that came twice on one connection.
    repeated: list[Frame] = field(default_factory=list)
    # conversation_id -> seqs of the messages that were not asked for.
    seqs: dict[str, set[int]] = field(default_factory=dict)
    presences: list[Frame] = field(default_factory=list)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    connection: int = 0
    # event_ids, on this connection and on any.
    _here: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)

    async def listen(
        self,
        ws: Callable[[], str],
        user: User,
        stay_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Connects for so long, again and again; None is for as long as the connection lasts. ``ws``
        says where, each time."""
        while True:
            try:
                device = await Device.connect(ws(), user)
            except Exception:  # not there yet
                await asyncio.sleep(RETRY_S)
                continue
            self.connection += 1
            self.is_open.set()
            await self._read(device, stay_s())
            await asyncio.sleep(RETRY_S)

    async def _read(self, device: Device, stay_s: float | None) -> None:
        """Until the connection is cut off, or enough; what had come by then, too."""
        count = 0
        self._here.clear()
        try:
            async with asyncio.timeout(stay_s):
                async for frame in device.stream():
                    self._take(frame)
                    count += 1
        except TimeoutError:
            pass
        finally:
            await device.close()
        for frame in device.frames[count:]:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        for one in unpacked([frame]):
            if one["type"] == "event":
                self._hear(one, was_listed=frame["type"] == "offline")
            elif one["type"] == "message":
                self.seqs.setdefault(one["conversation_id"], set()).add(one["seq"])
            elif one["type"] == "presence":
                self.presences.append(one)

    def _hear(self, event: Frame, *, was_listed: bool) -> None:
        event_id = event["event_id"]
        if event_id in self._here:
            self.repeated.append(event)
        elif event_id not in self._known:
            self.events.append(event)
            self.connections.append(self.connection)
            self.were_listed.append(was_listed)
        self._here.add(event_id)
        self._known.add(event_id)


def unpacked(frames: list[Frame]) -> list[Frame]:
    """With the offline batches' frames in their place."""
    listed = [f["frames"] if f["type"] == "offline" else [f] for f in frames]
    return [frame for some in listed for frame in some]


def events_among(frames: list[Frame]) -> list[Frame]:
    """The offline batches' included, in order."""
    return [frame for frame in unpacked(frames) if frame["type"] == "event"]
