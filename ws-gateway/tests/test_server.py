"""The whole gateway on a real port: its handshake, and clients that do not behave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from im.auth.v1.auth_pb2 import ValidateTokenRequest, ValidateTokenResponse
from im.chat.v1.chat_pb2 import ListGroupStandingsRequest, ListGroupStandingsResponse
from im.gateway.v1.push_pb2 import Delivery, GroupStanding, GroupTarget
from im_common.domain import in_flight as in_flight_module
from im_common.domain.comings import Comings
from im_common.domain.frames import MAX_FRAME_BYTES
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import RouteTable
from im_common.errors import AppError, Code
from im_common.runtime.tasks import end
from im_common.testing.fixtures import redis, valkey
from im_common.testing.services import SECRET
from im_common.testing.waiting import eventually
from ws_gateway.config import Settings, WebSocketConf
from ws_gateway.logic import upkeep
from ws_gateway.logic.connection import Connections, Stores
from ws_gateway.logic.missing import Missing
from ws_gateway.logic.presence import PresenceReporter
from ws_gateway.logic.receipts import Receipts
from ws_gateway.logic.relay import Relay
from ws_gateway.logic.rosters import Rosters
from ws_gateway.server.websocket import WebSocketServer
from ws_gateway.svc import ServiceContext

__all__ = ["redis", "valkey"]

KEY = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
KEY += b"Sec-WebSocket-Version: 13\r\n"


class Auth:
    """Knows the user's number as the token `t-<number>`; the rest is refused as its name says."""

    async def ValidateToken(self, request: ValidateTokenRequest) -> ValidateTokenResponse:
        kind, _, number = request.access_token.partition("-")
        if kind == "t" and number.isascii() and number.isdecimal():
            user_id = int(number[:9])
            return ValidateTokenResponse(
                user_id=user_id, session_id="s", device_id="d", platform="web"
            )
        if kind == "revoked":
            raise AppError(Code.SESSION_REVOKED, "the session has ended")
        if kind == "away":
            raise AppError(Code.UNAVAILABLE, "away")
        raise AppError(Code.UNAUTHENTICATED, "the access token is not valid")


class NoGroups:
    """A chat-service whose users are in no groups."""

    async def ListGroupStandings(self, _: ListGroupStandingsRequest) -> ListGroupStandingsResponse:
        return ListGroupStandingsResponse()


class Log:
    """A bus that takes everything."""

    async def enqueue(self, *_: Any, **__: Any) -> asyncio.Future[None]:
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        taken.set_result(None)
        return taken


class Gateway:
    def __init__(self, svc: ServiceContext, server: WebSocketServer) -> None:
        self.svc = svc
        self.server = server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/ws/connect"

    @asynccontextmanager
    async def user(self, user_id: int, **more: Any) -> AsyncIterator[ClientConnection]:
        """Connected, and greeted."""
        async with connect(f"{self.url}?token=t-{user_id}", compression=None, **more) as client:
            assert msgspec.json.decode(await client.recv())["user_id"] == user_id
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
    auth: Any = Auth()
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
        auth=auth,
        chat=anything,
        relay=Relay(anything),
        presence=PresenceReporter(anything, Comings(redis)),
        tokens=anything,
        routes=RouteTable(redis),
        offline=OfflineList(redis),
        recalls=RecallLog(redis),
        missing=missing,
        stores=Stores(OfflineList(redis), RecallLog(redis), anything, missing.look),
        rosters=rosters,
        receipts=Receipts(connections),
        connections=connections,
    )
    learning = asyncio.create_task(svc.rosters.run())
    server = WebSocketServer(svc)
    await server.start()
    try:
        yield Gateway(svc, server)
    finally:
        await server.stop(1)
        await end(learning)


@pytest.fixture
async def gateway(redis: Redis) -> AsyncIterator[Gateway]:
    async with running(redis) as gateway:
        yield gateway


# --- handshake -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Sec-WebSocket-Protocol: bearer, t-7\r\n", 101),
        (b"Sec-WebSocket-Protocol: bearer\r\nSec-WebSocket-Protocol: t-7\r\n", 101),
        (b"Authorization: Bearer t-7\r\nAuthorization: Bearer t-7\r\n", 101),
        (b"Authorization: Basic YTpi\r\nAuthorization: Bearer t-7\r\n", 101),
        (b"Authorization: Bearer t-7\r\nOrigin: http://a\r\nOrigin: http://b\r\n", 400),
        (b"Authorization: Bearer t-7\r\nHost: y\r\nUser-Agent: a\r\nUser-Agent: b\r\n", 101),
        (b"Authorization: Bearer t-7\r\nSec-WebSocket-Key: x\r\n", 400),
        (b"Authorization: Bearer t-7\r\nSec-WebSocket-Version: 13\r\n", 400),
        (b"Authorization: Bearer \xff\xfe\r\n", 401),
        (b"Authorization: Bearer t-7 \xc3\xa9\r\n", 401),
        (b"Authorization: Bearer " + b"x" * 5_000 + b"\r\n", 401),
        (b"Authorization: Bearer nobody\r\n", 401),
        (b"Authorization: Bearer revoked\r\n", 403),
        (b"Authorization: Bearer away\r\n", 503),
        (b"", 401),
    ],
)
async def test_a_header_may_be_there_twice_and_hold_anything(
    gateway: Gateway, lines: bytes, status: int
) -> None:
    assert await gateway.handshake(KEY + lines) == status


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/ws/connect?token=t-7&token=t-8", 101),
        (b"/ws/connect?token=t-7&device_id=&platform=", 101),
        (b"/ws/connect?token=t-7&device_id=%E8%AA%9E", 101),
        (b"/ws/connect?token=t-7&device_id=" + b"x" * 65, 400),
        (b"/ws/connect?token=t-7&device_id=a%00b", 400),
        (b"/ws/connect?token=t-7&platform=toaster", 400),
        # No HTTP at all.
        (b"/ws/connect?token=t-7&device_id=\xff", 0),
        (b"/ws/connect?token=%ff%fe", 401),
        (b"/ws/connect?token=%ed%a0%80", 401),
        (b"//[?token=t-7", 400),
        (b"http://[::1/ws/connect?token=t-7", 400),
        (b"/ws/connect/?token=t-7", 404),
        (b"*", 404),
    ],
)
async def test_a_target_may_be_anything(gateway: Gateway, target: bytes, status: int) -> None:
    assert await gateway.handshake(KEY, target) == status


NAMES = ["Authorization", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin", "Cookie"]
NAMES += [
    "Connection",
    "Upgrade",
    "Content-Length",
    "Transfer-Encoding",
    "X-Any",
    "X-Forwarded-For",
]
WORDS = st.one_of(
    st.sampled_from(
        [b"bearer", b"Bearer t-7", b"bearer, t-7", b"t-7", b"Upgrade", b"", b",", b"0"]
    ),
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    headers=st.lists(st.tuples(st.sampled_from(NAMES), WORDS), max_size=6),
    target=st.one_of(
        st.just(b"/ws/connect"),
        st.just(b"/ws/connect?token=t-7"),
        st.binary(max_size=40).map(lambda query: b"/ws/connect?token=t-7&device_id=" + query),
        st.binary(max_size=40),
        st.text("/:[]@?#%&=.x", max_size=20).map(str.encode),
    ),
)
async def test_no_handshake_is_a_fault(
    redis: Redis, headers: list[tuple[str, bytes]], target: bytes
) -> None:
    lines = KEY + b"".join(name.encode() + b": " + word + b"\r\n" for name, word in headers)
    async with running(redis) as gateway:
        status = await gateway.handshake(lines, target)
        # 0: no HTTP at all. The rest is what the client is told of its own doing.
        assert status in (0, 101) or 400 <= status < 500 or status == 505, (status, lines, target)


@pytest.mark.parametrize(("token", "code"), [("nobody", 4001), ("revoked", 4002), ("away", 1013)])
async def test_a_page_is_told_by_a_close_code_what_was_wrong(
    gateway: Gateway, token: str, code: int
) -> None:
    protocols: Any = ["bearer", token]
    async with connect(gateway.url, subprotocols=protocols, compression=None) as client:
        assert client.subprotocol == "bearer"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == code


# --- limits ----------------------------------------------------------------------------------------


async def test_one_too_many_is_sent_away_and_comes_in_when_another_has_gone(redis: Redis) -> None:
    async with running(redis, max_connections=2) as gateway:
        async with gateway.user(7), gateway.user(8):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{gateway.url}?token=t-9")
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["Retry-After"] == "2"
            protocols: Any = ["bearer", "t-9"]
            async with connect(gateway.url, subprotocols=protocols) as client:
                await client.wait_closed()
                assert client.close_code == 4008
        await eventually(lambda: not len(gateway.svc.connections))
        async with gateway.user(9):
            pass


async def test_a_gateway_that_ends_sends_its_clients_elsewhere_and_takes_no_new_ones(
    redis: Redis,
) -> None:
    async with running(redis) as gateway, gateway.user(7) as client:
        gateway.svc.is_leaving = True
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{gateway.url}?token=t-8")
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "2"
        protocols: Any = ["bearer", "t-8"]
        async with connect(gateway.url, subprotocols=protocols) as page:
            await page.wait_closed()
            assert page.close_code == 1013
        await gateway.server.stop(1)
        await client.wait_closed()
        assert client.close_code == 1001


async def test_who_reads_too_slowly_is_cut_off_and_nobody_else(redis: Redis) -> None:
    async with (
        running(redis, max_queue=16) as gateway,
        gateway.user(7, max_queue=1) as slow,
        gateway.user(8) as quick,
    ):
        slow.transport.pause_reading()
        [connection] = gateway.svc.connections.of(7)
        [other] = gateway.svc.connections.of(8)
        big = b'{"type":"x","x":"' + b"x" * 60_000 + b'"}'
        for number in range(4_000):
            connection.send(big)
            other.send(b'{"n":%d}' % number)
            assert msgspec.json.decode(await quick.recv()) == {"n": number}
            if connection.ending is not None:
                break
        assert connection.ending is not None
        assert connection.ending.code == 4003
        await eventually(lambda: not gateway.svc.connections.of(7))
        slow.transport.resume_reading()
        with suppress(ConnectionClosed):
            while True:
                await slow.recv()
        # Where the socket was too full for a close frame, it just ends.
        assert slow.close_code in (4003, 1006)
        await quick.send('{"type":"ping"}')
        assert msgspec.json.decode(await quick.recv()) == {"type": "pong"}


def _push_event(gateway: Gateway, number: int) -> None:
    frame = b'{"type":"event","event_id":"e%d","event":"FriendDeleted","data":{}}' % number
    delivery = Delivery(
        frame=frame, user_ids=[7], conversation_id="events:1", seq=number, event_id=f"e{number}"
    )
    # Nobody else keeps it: the user has a connection here.
    assert gateway.svc.connections.hand_over(delivery) == []


async def test_what_an_ending_connection_was_given_goes_to_the_one_that_comes_next(
    gateway: Gateway,
) -> None:
    async with gateway.user(7) as old:
        [ending] = gateway.svc.connections.of(7)
        _push_event(gateway, 1)
        assert msgspec.json.decode(await old.recv())["event_id"] == "e1"
        # It does not answer the close frame, so that its connection is there for some time yet.
        old.transport.pause_reading()
        ending.missed()
        _push_event(gateway, 2)
        _push_event(gateway, 3)
        async with gateway.user(7) as new:
            _push_event(gateway, 4)
            heard = [msgspec.json.decode(await new.recv())["event_id"] for _ in range(3)]
            assert heard == ["e2", "e3", "e4"]
            assert ending in gateway.svc.connections.of(7)
            old.transport.resume_reading()
            await eventually(lambda: ending not in gateway.svc.connections.of(7))
            assert await gateway.svc.offline.waiting([7]) == []


class SlowList(OfflineList):
    """Puts nothing into a list before it is told to."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.appending = asyncio.Event()
        self.may_append = asyncio.Event()
        self.failures = 0

    async def append(self, frames: Any) -> None:
        self.appending.set()
        await self.may_append.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("Redis is away")
        await super().append(frames)


@asynccontextmanager
async def _leaving(gateway: Gateway, slow: SlowList) -> AsyncIterator[None]:
    """Somebody's only connection, which ends with `e1` unsent, until that is on its way to the list."""
    gateway.svc.offline = slow
    async with gateway.user(7):
        [connection] = gateway.svc.connections.of(7)
        connection.missed()
        _push_event(gateway, 1)
    await slow.appending.wait()
    yield
    await eventually(lambda: not gateway.svc.connections.of(7))


def _listed(frames: list[bytes]) -> list[str]:
    return [msgspec.json.decode(frame)["event_id"] for frame in frames]


async def test_what_comes_while_the_unsent_is_put_into_the_list_comes_behind_it(
    gateway: Gateway, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who pushes would hear that the user has gone, and be quicker."""
    monkeypatch.setattr("ws_gateway.server.websocket.LIST_AGAIN_S", 0.01)
    slow = SlowList(redis)
    slow.failures = 2
    async with _leaving(gateway, slow):
        _push_event(gateway, 2)
        slow.may_append.set()
    frames, _ = await slow.head(7)
    assert _listed(frames) == ["e1", "e2"]


async def test_who_comes_while_the_unsent_is_put_into_the_list_is_sent_it_first_and_once(
    gateway: Gateway, redis: Redis
) -> None:
    slow = SlowList(redis)
    async with _leaving(gateway, slow), gateway.user(7) as new:
        _push_event(gateway, 2)
        heard = [msgspec.json.decode(await new.recv())["event_id"] for _ in range(2)]
        slow.may_append.set()
        await eventually(lambda: len(gateway.svc.connections.of(7)) == 1)
        [connection] = gateway.svc.connections.of(7)
        connection.backlog.look()
        await eventually(lambda: connection._held is None)
        _push_event(gateway, 3)
        heard.append(msgspec.json.decode(await new.recv())["event_id"])
        assert heard == ["e1", "e2", "e3"]


async def test_of_two_that_have_gone_one_puts_the_unsent_into_the_list(
    gateway: Gateway, redis: Redis
) -> None:
    gateway.svc.offline = slow = SlowList(redis)
    async with gateway.user(7), gateway.user(7):
        for connection in gateway.svc.connections.of(7):
            connection.missed()
        _push_event(gateway, 1)
    await slow.appending.wait()
    _push_event(gateway, 2)
    slow.may_append.set()
    await eventually(lambda: not gateway.svc.connections.of(7))
    frames, _ = await slow.head(7)
    assert _listed(frames) == ["e1", "e2"]


async def test_when_redis_was_started_again_those_whose_route_it_lost_come_again(
    gateway: Gateway,
) -> None:
    svc = gateway.svc
    await upkeep.look_at_redis(svc)
    async with gateway.user(7), gateway.user(8), gateway.user(9) as left:
        connections = svc.connections.all()
        [lost] = svc.connections.of(8)
        await svc.routes.remove([(8, lost.route)])
        svc.redis_run_id = "the one before"
        for _ in (1, 2):
            await upkeep.look_at_redis(svc)
        assert [c for c in connections if c.ending is not None] == [lost]
        assert sorted(await svc.routes.find([7, 9])) == [7, 9]
        await left.ping()


async def test_when_redis_was_started_again_members_of_a_group_that_it_does_not_know_come_again(
    gateway: Gateway, redis: Redis
) -> None:
    """Who pushes finds a gateway for a group there, too; their routes are old enough."""
    svc = gateway.svc
    await upkeep.look_at_redis(svc)
    async with gateway.user(7), gateway.user(8):
        (member,), (other,) = svc.connections.of(7), svc.connections.of(8)
        joined = GroupTarget(is_change=True, moved=[GroupStanding(user_id=7, min_seq=0)])
        message = Delivery(frame=b"{}", conversation_id="g:5", seq=1, group=joined)
        svc.rosters.deliver(message)
        await svc.rosters.register()
        svc.redis_run_id = "the one before"
        await upkeep.look_at_redis(svc)
        assert member.ending is None
        await redis.delete("gateways:g:5")
        svc.redis_run_id = "the one before"
        await upkeep.look_at_redis(svc)
        assert (member.ending is not None, other.ending) == (True, None)


async def test_routes_are_not_written_again_before_it_is_known_who_was_lost(
    gateway: Gateway,
) -> None:
    svc = gateway.svc
    await upkeep.look_at_redis(svc)
    async with gateway.user(7):
        [connection] = svc.connections.of(7)
        await svc.routes.remove([(7, connection.route)])
        svc.redis_run_id = "the one before"
        await upkeep.renew_routes(svc)
        await upkeep.look_at_redis(svc)
        assert connection.ending is not None


async def test_a_device_that_is_sent_the_list_with_another_is_sent_what_waits_behind_it(
    gateway: Gateway,
) -> None:
    listed = b'{"type":"event","event_id":"e1","event":"FriendDeleted","data":{}}'
    await gateway.svc.offline.append([(7, [listed])])
    async with gateway.user(7) as first:
        batch = msgspec.json.decode(await first.recv())
        assert [event["event_id"] for event in batch["frames"]] == ["e1"]
        _push_event(gateway, 2)
        async with gateway.user(7) as second:
            _push_event(gateway, 3)
            shared = msgspec.json.decode(await second.recv())
            assert [event["event_id"] for event in shared["frames"]] == ["e1"]
            await first.send(f'{{"type":"offline_ack","batch_id":"{batch["batch_id"]}"}}')
            await second.send(f'{{"type":"offline_ack","batch_id":"{shared["batch_id"]}"}}')
            for device in (first, second):
                heard = [msgspec.json.decode(await device.recv())["event_id"] for _ in range(2)]
                assert heard == ["e2", "e3"]


async def test_a_message_without_an_outcome_is_answered_all_the_same(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("STUCK_S", 0.0), ("ANSWER_WITHIN_S", 0.2), ("TICK_S", 0.05)):
        monkeypatch.setattr(in_flight_module, name, seconds)
    async with gateway.user(7) as client, AsyncExitStack() as stack:
        limits = asyncio.create_task(gateway.svc.in_flight.run())
        stack.callback(limits.cancel)
        await client.send('{"type":"chat","to":8,"content":"x","client_msg_id":"c-1"}')
        error = msgspec.json.decode(await client.recv())
        assert (error["type"], error["code"]) == ("error", "UNAVAILABLE")
        assert error["client_msg_id"] == "c-1"


async def test_a_text_of_64_kib_is_a_frame_and_one_byte_more_is_none(gateway: Gateway) -> None:
    async with gateway.user(7) as client:
        await client.send('{"type":"ping"' + " " * (MAX_FRAME_BYTES - 15) + "}")
        assert msgspec.json.decode(await client.recv()) == {"type": "pong"}
        await client.send('{"type":"ping"' + " " * (MAX_FRAME_BYTES - 14) + "}")
        await client.wait_closed()
        assert client.close_code == 1009
