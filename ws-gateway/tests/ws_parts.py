"""Connections without sockets, and what stands for the services around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from im.chat.v1 import chat_pb2 as pb
from im_common.bus import BusUnavailable, Linger, Settled
from im_common.domain.in_flight import InFlight
from im_common.domain.recalls import emptied
from im_common.domain.routes import Route
from im_common.errors import AppError, Code
from im_common.runtime.context import Identity
from im_common.runtime.rate import Bucket
from ws_gateway.logic.backlog import Backlog
from ws_gateway.logic.connection import Connection, Stores
from ws_gateway.logic.inbound import Inbound
from ws_gateway.logic.relay import Relay

Start = Callable[..., Backlog]


def connection(user_id: int = 7, *, number: int = 1, max_queue: int = 100) -> Connection:
    identity = Identity(user_id, "s", "d", "web", 0)
    stores = Stores(List(), Recalls(), Chat(), nobody)  # type: ignore[arg-type]
    route = Route("h:1", number, "web", "d")
    opened = Connection(identity, route, stores, max_queue=max_queue)
    opened.opened_at = 1.0
    return opened


def sent(of: Connection) -> list[dict[str, Any]]:
    return [msgspec.json.decode(item.frame) for item in of.outbox.queue]


async def nobody() -> None:
    """Misses anything."""


class Log:
    """A bus that does as it is told."""

    def __init__(self, outcome: BusUnavailable | None = None, *, refuse: bool = False) -> None:
        self.records: list[bytes] = []
        # How long each might wait for others, in seconds.
        self.lingers: list[float] = []
        self._outcome = outcome
        self._refuse = refuse

    def put(
        self, _t: str, _k: bytes, value: bytes, _h: Any, *, linger: Linger, settled: Settled
    ) -> None:
        if self._refuse:
            raise BusUnavailable("full")
        self.records.append(value)
        self.lingers.append(linger())
        settled(self._outcome)


class List:
    """An offline list of one user."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)
        self.limit = 2

    async def head(self, _user_id: int) -> tuple[list[bytes], int]:
        limit = self.limit
        return self.frames[:limit], max(0, len(self.frames) - limit)

    async def behind(self, _user_id: int, batch: list[bytes]) -> list[list[bytes]]:
        rest = self.frames[len(batch) :]
        return [rest[at : at + self.limit] for at in range(0, len(rest), self.limit)]

    async def confirm(self, _user_id: int, frames: list[bytes]) -> None:
        for frame in frames:
            if self.frames[:1] == [frame]:
                del self.frames[0]


class Recalls:
    """The recalls that one device has missed."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)

    async def missed(self, _user_id: int, _device_id: str) -> list[bytes]:
        return self.frames

    async def missed_by(self, devices: list[tuple[int, str]]) -> list[list[bytes]]:
        return [await self.missed(*device) for device in devices]

    async def emptied(self, _user_id: int, frames: list[bytes]) -> list[bytes]:
        return emptied(frames, self.frames)


class Chat:
    """A chat-service that refuses nothing, or is away."""

    def __init__(self, *refusals: pb.CursorRefusal) -> None:
        self.calls: list[pb.AdvanceCursorsRequest] = []
        self.refusals = refusals
        self.typing: list[pb.Typing] = []
        self.away = False

    async def RelayTyping(self, request: pb.RelayTypingRequest) -> pb.RelayTypingResponse:
        self.typing += request.typing
        if self.away:
            raise AppError(Code.UNAVAILABLE, "away")
        return pb.RelayTypingResponse()

    async def AdvanceCursors(self, request: pb.AdvanceCursorsRequest) -> pb.AdvanceCursorsResponse:
        self.calls.append(request)
        if self.away:
            raise AppError(Code.UNAVAILABLE, "away")
        return pb.AdvanceCursorsResponse(refusals=self.refusals)

    async def SyncFor(self, request: pb.SyncForRequest) -> pb.SyncForResponse:
        return pb.SyncForResponse()


def inbound(one: Connection, log: Log, rate: Bucket | None = None) -> tuple[Inbound, InFlight]:
    answers, chat = InFlight(), Chat()
    answers.address = "h:1"
    relay = Relay(chat)  # type: ignore[arg-type]
    return Inbound(one, answers, log, relay=relay, rate=rate), answers  # type: ignore[arg-type]


async def take(frames: Inbound, text: str | bytes) -> None:
    if (producing := frames.handle(text)) is not None:
        await producing


async def until(of: Connection, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while len(of.outbox) < count:
            await asyncio.sleep(0.001)
    return sent(of)


def message(seq: int) -> bytes:
    return b'{"type":"message","conversation_id":"c","seq":%d}' % seq


def recalled(seq: int) -> bytes:
    return b'{"type":"recalled","conversation_id":"c","seq":%d}' % seq


async def confirm_all(one: Connection, backlog: Backlog, count: int) -> list[dict[str, Any]]:
    """Waits for so many frames, and confirms batches as they come."""
    for number in range(1, count + 1):
        frame = (await until(one, number))[-1]
        if frame["type"] == "offline":
            backlog.confirm(frame["batch_id"])
    return sent(one)


def event(number: int) -> bytes:
    return b'{"type":"event","event_id":"e%d"}' % number
