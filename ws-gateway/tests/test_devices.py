"""Devices that come back, and sessions that end, on a real port and a real Redis."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from ws_server import Gateway, gateway, redis, running, valkey

from im.gateway.v1.push_pb2 import ReplacedConnection, ReplaceRequest
from im_common.domain.access_tokens import session_key
from im_common.domain.ended_sessions import Ended, EndedSessions
from im_common.domain.routes import Route
from im_common.testing.certificates import make_certificate
from im_common.testing.waiting import eventually
from ws_gateway.logic import upkeep
from ws_gateway.server.push import PushServicer

__all__ = ["gateway", "redis", "valkey"]


async def _closed(client: ClientConnection) -> tuple[int | None, list[dict[str, Any]]]:
    """Its close code, and the frames before it."""
    frames = []
    try:
        while True:
            frames.append(msgspec.json.decode(await client.recv()))
    except ConnectionClosed:
        return client.close_code, frames


# --- a device that comes back ----------------------------------------------------------------------


async def test_a_device_that_connects_again_takes_the_place_of_its_older_connection(
    gateway: Gateway,
) -> None:
    async with (
        gateway.device(7, "phone") as old,
        gateway.device(7, "laptop") as other,
        gateway.device(7, "phone") as new,
    ):
        code, frames = await _closed(old)
        assert (code, [frame["type"] for frame in frames]) == (4002, ["kick"])
        for one in (new, other):
            await one.send('{"type":"ping"}')
            assert msgspec.json.decode(await one.recv()) == {"type": "pong"}


async def test_who_does_not_say_which_device_it_is_replaces_nobody(gateway: Gateway) -> None:
    async with gateway.user(7), gateway.user(7), gateway.user(7):
        assert [one.ending for one in gateway.svc.connections.of(7)] == [None] * 3


async def test_of_two_that_come_at_once_one_stays(gateway: Gateway) -> None:
    url = f"{gateway.url}?token=t-7&device_id=phone"
    clients = await asyncio.gather(*(connect(url, compression=None) for _ in range(8)))
    await eventually(lambda: len(gateway.svc.connections) == 1)
    await asyncio.gather(*(client.close() for client in clients))


async def test_the_gateway_of_an_older_connection_is_told_once_for_many(gateway: Gateway) -> None:
    for user_id in (7, 8):
        phone = Route("elsewhere:1", user_id * 10, "ios", "phone")
        laptop = Route("elsewhere:1", 1, "web", "laptop")
        await gateway.svc.routes.enter([(user_id, phone), (user_id, laptop)])
    async with gateway.device(7, "phone"), gateway.device(8, "phone"):
        told = asyncio.create_task(gateway.svc.replacing.run())
        [(address, request)] = await gateway.elsewhere.replaced(1)
        told.cancel()
    assert address == "elsewhere:1"
    assert [(one.user_id, one.connection_id) for one in request.connections] == [(7, 70), (8, 80)]


async def test_a_connection_that_was_replaced_elsewhere_is_kicked(gateway: Gateway) -> None:
    async with gateway.device(7, "phone") as old, gateway.device(7, "laptop") as other:
        [phone, _] = gateway.svc.connections.of(7)
        replaced = ReplacedConnection(user_id=7, connection_id=phone.id)
        unknown = ReplacedConnection(user_id=7, connection_id=1)
        request = ReplaceRequest(connections=[replaced, unknown])
        assert (await PushServicer(gateway.svc).Replace(request, None)).closed == 1
        assert (await _closed(old))[0] == 4002
        await other.ping()


# --- sessions --------------------------------------------------------------------------------------


async def _session(redis: Redis, user_id: int) -> None:
    await redis.hset(session_key(f"session-{user_id}"), "user_id", str(user_id))


async def test_a_connection_ends_with_its_session_and_no_other_does(
    gateway: Gateway, redis: Redis
) -> None:
    for user_id in (7, 8):
        await _session(redis, user_id)
    async with gateway.user(7) as ended, gateway.user(8) as other:
        await EndedSessions(redis).tell([Ended(7, "session-7"), Ended(8, "session-8")])
        # Said before it is done, and of one it is not done.
        await upkeep.end_revoked(gateway.svc)
        assert [one.ending for one in gateway.svc.connections.all()] == [None, None]
        await redis.delete(session_key("session-7"))
        await upkeep.end_revoked(gateway.svc)
        code, frames = await _closed(ended)
        assert (code, frames[-1]["type"]) == (4002, "kick")
        await other.ping()


async def test_who_connects_while_his_session_ends_is_found_all_the_same(
    gateway: Gateway, redis: Redis
) -> None:
    await EndedSessions(redis).tell([Ended(7, "session-7")])
    await upkeep.end_revoked(gateway.svc)
    # Its handshake had found the session.
    async with gateway.user(7) as client:
        await upkeep.end_revoked(gateway.svc)
        assert (await _closed(client))[0] == 4002


async def test_a_session_that_ended_without_a_word_is_found_when_all_are_asked_for(
    gateway: Gateway, redis: Redis
) -> None:
    await _session(redis, 8)
    async with gateway.user(7) as ended, gateway.user(8) as other:
        await upkeep.end_revoked(gateway.svc)
        assert [one.ending for one in gateway.svc.connections.all()] == [None, None]
        await upkeep.end_over(gateway.svc)
        assert (await _closed(ended))[0] == 4002
        await other.ping()


async def test_auth_service_is_told_which_sessions_were_used_and_where_from(
    gateway: Gateway,
) -> None:
    async with gateway.user(7), gateway.user(8), gateway.user(8):
        await upkeep.tell_seen(gateway.svc)
        await upkeep.tell_seen(gateway.svc)
    seen = [{one.session_id: one.address for one in call.sessions} for call in gateway.auth.seen]
    assert seen == [{"session-7": "127.0.0.1", "session-8": "127.0.0.1"}]


# --- who may connect -------------------------------------------------------------------------------


async def _status(url: str, **more: Any) -> int:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, compression=None, **more)
    return refused.value.response.status_code


async def test_connections_of_a_user_and_from_an_address_are_bounded(redis: Redis) -> None:
    conf = {"max_connections_per_user": 2, "max_connections_per_address": 3, "trusted_proxies": 1}
    async with running(redis, **conf) as gateway:
        here = {"additional_headers": {"X-Forwarded-For": "198.51.100.1:4711"}}
        async with gateway.user(7, **here), gateway.user(7, **here):
            assert await _status(f"{gateway.url}?token=t-7", **here) == 429
            async with gateway.user(8, **here):
                assert await _status(f"{gateway.url}?token=t-9", **here) == 429
                there = {"additional_headers": {"X-Forwarded-For": "198.51.100.2"}}
                async with gateway.user(9, **there):
                    pass
        await eventually(lambda: not len(gateway.svc.connections))
        async with gateway.user(7, **here):
            pass


async def test_a_device_that_comes_back_has_room_in_the_place_of_its_earlier_connection(
    redis: Redis,
) -> None:
    async with (
        running(redis, max_connections_per_user=2) as gateway,
        gateway.device(7, "phone") as phone,
        gateway.device(7, "tablet"),
    ):
        assert await _status(f"{gateway.url}?token=t-7&device_id=watch") == 429
        async with gateway.device(7, "phone"):
            assert (await _closed(phone))[0] == 4002


async def test_pages_of_other_origins_may_not_connect_and_who_is_no_page_may(redis: Redis) -> None:
    async with running(redis, allowed_origins=["https://chat.example"]) as gateway:
        assert await _status(f"{gateway.url}?token=t-7", origin="https://evil.example") == 403
        async with gateway.user(7, origin="https://chat.example"), gateway.user(8):
            pass


async def test_it_speaks_tls_itself(redis: Redis, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    async with running(redis, cert_file=str(cert), cert_key_file=str(key)) as gateway:
        context = ssl.create_default_context(cafile=str(cert))
        url = gateway.url.replace("ws:", "wss:").replace("127.0.0.1", "localhost")
        async with connect(f"{url}?token=t-7", ssl=context, compression=None) as client:
            assert msgspec.json.decode(await client.recv())["user_id"] == 7
            await client.send('{"type":"ping"}')
            assert msgspec.json.decode(await client.recv()) == {"type": "pong"}
