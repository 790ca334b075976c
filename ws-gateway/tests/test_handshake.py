"""Who may connect to the gateway, and clients that do not behave."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from ws_server import KEY, Gateway, gateway, redis, running, valkey

from im_common.domain.frames import MAX_FRAME_BYTES
from im_common.testing.waiting import eventually
from ws_gateway.server import websocket

__all__ = ["gateway", "redis", "valkey"]


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
        (b"/ws/connect?token=t-7&device_id=\xff", 400),
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
        # 0: more came behind the request, before it was answered. The rest is what it is told.
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
        assert re.fullmatch(r"going away; retry_after_ms=\d+", client.close_reason or "")


async def test_a_gateway_that_ends_answers_what_is_in_hand_first(redis: Redis) -> None:
    async with running(redis) as gateway, gateway.user(7) as client:
        await client.send('{"type":"chat","to":8,"content":"x","client_msg_id":"c"}')
        await eventually(lambda: len(gateway.svc.in_flight) == 1)
        stopping = asyncio.create_task(gateway.server.stop(10))
        # It is still here, and so is its client.
        await client.send('{"type":"ping"}')
        assert msgspec.json.decode(await client.recv()) == {"type": "pong"}
        for token in list(gateway.svc.in_flight._entries):
            gateway.svc.in_flight.settle(token, b'{"type":"sent"}')
        assert msgspec.json.decode(await client.recv()) == {"type": "sent"}
        await client.wait_closed()
        assert client.close_code == 1001
        await stopping


async def test_many_are_sent_elsewhere_a_few_at_a_time(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "LEAVING_A_SECOND", 40)
    async with running(redis) as gateway, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.user(7)) for _ in range(20)]
        stopping = asyncio.create_task(gateway.server.stop(1))
        # Half of them still has its answers while the others have gone.
        await eventually(lambda: 5 <= sum(c.close_code is not None for c in clients) <= 15)
        staying = [client for client in clients if client.close_code is None]
        await staying[-1].send('{"type":"ping"}')
        assert msgspec.json.decode(await staying[-1].recv()) == {"type": "pong"}
        await stopping
        assert {client.close_code for client in clients} == {1001}


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


async def test_a_text_of_64_kib_is_a_frame_and_one_byte_more_is_none(gateway: Gateway) -> None:
    async with gateway.user(7) as client:
        await client.send('{"type":"ping"' + " " * (MAX_FRAME_BYTES - 15) + "}")
        assert msgspec.json.decode(await client.recv()) == {"type": "pong"}
        await client.send('{"type":"ping"' + " " * (MAX_FRAME_BYTES - 14) + "}")
        await client.wait_closed()
        assert client.close_code == 1009
