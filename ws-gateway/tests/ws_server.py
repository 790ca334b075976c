"""The whole gateway on a real port and a real Redis; auth-service and chat-service are stood in for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from im.auth.v1.auth_pb2 import SeeSessionsRequest
from im.chat.v1.chat_pb2 import ListGroupStandingsRequest, ListGroupStandingsResponse
from im.gateway.v1.push_pb2 import ReplaceRequest
from im_common.bus import Settled
from im_common.domain.access_tokens import LiveSessions
from im_common.domain.comings import Comings
from im_common.domain.ended_sessions import EndedSessions
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import RouteTable
from im_common.errors import AppError, Code
from im_common.runtime.context import Identity
from im_common.runtime.tasks import end
from im_common.testing.fixtures import redis, valkey
from im_common.testing.services import SECRET
from im_common.testing.waiting import eventually
from ws_gateway.config import Settings, WebSocketConf
from ws_gateway.logic.connection import Connections, Stores
from ws_gateway.logic.missing import Missing
from ws_gateway.logic.presence import PresenceReporter
from ws_gateway.logic.receipts import Receipts
from ws_gateway.logic.relay import Relay
from ws_gateway.logic.replacing import Replacing
from ws_gateway.logic.rosters import Rosters
from ws_gateway.logic.sessions import Sessions
from ws_gateway.server.websocket import WebSocketServer
from ws_gateway.svc import ServiceContext

__all__ = ["gateway", "redis", "valkey"]

KEY = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
KEY += b"Sec-WebSocket-Version: 13\r\n"


class Tokens:
    """Knows the user's number as the token `t-<number>`; the rest is refused as its name says."""

    async def read(self, token: str) -> Identity:
        kind, _, number = token.partition("-")
        if kind == "t" and number.isascii() and number.isdecimal():
            user_id = int(number[:9])
            return Identity(user_id, f"session-{user_id}", "d", "web", 0)
        if kind in ("revoked", "away"):
            return Identity(1, f"session-{kind}", "d", "web", 0)
        raise AppError(Code.UNAUTHENTICATED, "the access token is not valid")

    async def verify(self, token: str) -> Identity:
        identity = await self.read(token)
        if identity.session_id == "session-revoked":
            raise AppError(Code.SESSION_REVOKED, "the session has ended")
        if identity.session_id == "session-away":
            raise AppError(Code.UNAVAILABLE, "away")
        return identity

    async def verify_all(self, tokens: Sequence[str]) -> list[Identity | AppError]:
        found: list[Identity | AppError] = []
        for token in tokens:
            try:
                found.append(await self.verify(token))
            except AppError as error:
                found.append(error)
        return found


class Auth:
    """An auth-service that is told which sessions are in use."""

    def __init__(self) -> None:
        self.seen: list[SeeSessionsRequest] = []

    async def SeeSessions(self, request: SeeSessionsRequest) -> None:
        self.seen.append(request)


class Elsewhere:
    """Channels to other gateways."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ReplaceRequest]] = []

    def get(self, address: str) -> Any:
        async def call(request: ReplaceRequest, **_: Any) -> None:
            self.calls.append((address, request))

        return SimpleNamespace(
            unary_unary=lambda *_, **__: call, stream_stream=lambda *_, **__: None
        )

    async def replaced(self, count: int) -> list[tuple[str, ReplaceRequest]]:
        """Waits for so many calls."""
        await eventually(lambda: len(self.calls) >= count)
        return self.calls


class NoGroups:
    """A chat-service whose users are in no groups."""

    async def ListGroupStandings(self, _: ListGroupStandingsRequest) -> ListGroupStandingsResponse:
        return ListGroupStandingsResponse()


class Log:
    """A bus that takes everything."""

    def put(self, *_: Any, settled: Settled, **__: Any) -> None:
        settled(None)


class Gateway:
    def __init__(
        self, svc: ServiceContext, server: WebSocketServer, auth: Auth, elsewhere: Elsewhere
    ) -> None:
        self.svc = svc
        self.server = server
        self.auth = auth
        self.elsewhere = elsewhere

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/ws/connect"

    @asynccontextmanager
    async def user(self, user_id: int, **more: Any) -> AsyncIterator[ClientConnection]:
        """Connected, and greeted."""
        async with connect(f"{self.url}?token=t-{user_id}", compression=None, **more) as client:
            assert msgspec.json.decode(await client.recv())["user_id"] == user_id
            yield client

    @asynccontextmanager
    async def device(self, user_id: int, device_id: str) -> AsyncIterator[ClientConnection]:
        """The same of a client that says which device it is."""
        url = f"{self.url}?token=t-{user_id}&device_id={device_id}"
        async with connect(url, compression=None) as client:
            assert msgspec.json.decode(await client.recv())["device_id"] == device_id
            yield client

    async def handshake(self, lines: bytes, target: bytes = b"/ws/connect") -> int:
        """The status that the answer has; 0 when there is none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
            status = (await reader.readline()).split(b" ")
            return int(status[1]) if len(status) > 1 else 0
        finally:
            writer.close()


@asynccontextmanager
async def running(redis: Redis, **conf: Any) -> AsyncIterator[Gateway]:
    anything: Any = None
    tokens: Any = Tokens()
    auth: Any = Auth()
    elsewhere: Any = Elsewhere()
    log: Any = Log()
    chat: Any = NoGroups()
    connections = Connections()
    rosters = Rosters(connections, chat, GroupGateways(redis))
    missing = Missing(MissedLog(redis), connections, rosters)
    web_socket = WebSocketConf(listen_on="127.0.0.1:0", **conf)
    svc = ServiceContext(
        settings=Settings(
            name="ws-gateway", internal_secret=SecretStr(SECRET), web_socket=web_socket
        ),
        redis=redis,
        producer=log,
        chat=anything,
        relay=Relay(anything),
        presence=PresenceReporter(anything, Comings(redis)),
        tokens=tokens,
        routes=RouteTable(redis),
        offline=OfflineList(redis),
        recalls=RecallLog(redis),
        missing=missing,
        stores=Stores(OfflineList(redis), RecallLog(redis), anything, missing.look),
        rosters=rosters,
        receipts=Receipts(connections),
        sessions=Sessions(EndedSessions(redis), LiveSessions(redis), connections, auth),
        replacing=Replacing(connections, elsewhere),
        connections=connections,
    )
    learning = asyncio.create_task(svc.rosters.run())
    server = WebSocketServer(svc)
    await server.start()
    try:
        yield Gateway(svc, server, auth, elsewhere)
    finally:
        await server.stop(1)
        await end(learning)


@pytest.fixture
async def gateway(redis: Redis) -> AsyncIterator[Gateway]:
    async with running(redis) as gateway:
        yield gateway
