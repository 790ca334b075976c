"""What every request gets: an id, a trace, a deadline, limits; and how the server starts and ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from im.auth.v1 import auth_pb2
from im.user.v1 import user_pb2
from im_common.errors import Code
from im_common.testing.waiting import eventually

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

ME = "/v1/users/me"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def answering(gateway: Gateway) -> Gateway:
    gateway.services.answers["GetProfile"] = user_pb2.GetProfileResponse()
    return gateway


async def test_a_requests_id_goes_to_the_services_and_back(answering: Gateway) -> None:
    response = await answering.request("GET", ME, headers={"X-Request-Id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert answering.services.last.request.request_id == "mine-1"


async def test_a_request_without_a_usable_id_gets_one(answering: Gateway) -> None:
    seen = set()
    for given in ({}, {"X-Request-Id": "a b"}, {"X-Request-Id": "x" * 65}):
        response = await answering.request("GET", ME, headers=given)
        made = response.headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", made)
        assert answering.services.last.request.request_id == made
        seen.add(made)
    assert len(seen) == 3


async def test_the_clients_trace_goes_on_in_the_services(answering: Gateway) -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    await answering.request("GET", ME, headers={"traceparent": parent})
    assert answering.services.last.request.trace_id == TRACE


async def test_the_services_are_told_the_clients_address(answering: Gateway) -> None:
    await answering.request("GET", ME, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answering.services.last.request.client_address == "127.0.0.1"
    assert answering.services.last.request.service == "api-gateway"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("made-up, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("198.51.100.1, 2001:db8::1, 10.0.0.1", "2001:db8::1"),
        ("10.0.0.1", "127.0.0.1"),
        ("203.0.113.9:51234, 10.0.0.1:443", "203.0.113.9"),
        ("[2001:db8::1]:51234, 10.0.0.1", "2001:db8::1"),
        ("::ffff:203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("not an address, 10.0.0.1", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_behind_proxies_the_outermost_trusted_one_names_the_client(
    start: Start, forwarded: str, address: str
) -> None:
    async with start(trusted_proxies=2) as gateway:
        gateway.services.answers["GetProfile"] = user_pb2.GetProfileResponse()
        await gateway.request("GET", ME, headers={"X-Forwarded-For": forwarded})
        assert gateway.services.last.request.client_address == address


async def test_a_request_ends_at_its_deadline(start: Start) -> None:
    async with start(timeout=200) as gateway:
        gateway.services.answers["GetProfile"] = _never
        response = await gateway.request("GET", ME)
        assert (response.status_code, response.json()["code"]) == (504, "DEADLINE_EXCEEDED")


async def test_a_body_that_does_not_arrive_ends_at_the_deadline(start: Start) -> None:
    async with start(timeout=200) as gateway:
        head = b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        answer = await _talk(gateway.url, head)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"DEADLINE_EXCEEDED"' in answer


async def test_a_body_of_64_kib_is_read(gateway: Gateway) -> None:
    gateway.services.answers["Login"] = auth_pb2.LoginResponse()
    body = b'{"username":"ann","password":"x"}'
    response = await gateway.anonymous(
        "POST", "/v1/auth/login", content=body + b" " * (65536 - len(body))
    )
    assert response.status_code == 200, response.text


async def test_a_longer_body_is_refused_before_it_is_read(gateway: Gateway) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    answer = await _talk(gateway.url, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"PAYLOAD_TOO_LARGE"' in answer


async def test_a_client_that_sends_a_longer_body_gets_to_read_the_answer(
    gateway: Gateway,
) -> None:
    for size in (65537, 1_000_000, 3_000_000, 30_000_000):
        response = await gateway.request("POST", "/v1/messages", content=b" " * size)
        assert response.status_code == 413, response.text
        assert response.json()["code"] == Code.PAYLOAD_TOO_LARGE
    assert gateway.services.calls == []
    assert (await gateway.request("GET", "/v1/nothing")).status_code == 404


async def test_a_longer_body_of_unknown_length_is_refused_on_its_way(gateway: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    response = await gateway.request("POST", "/v1/messages", content=chunks())
    assert response.status_code == 413, response.text
    assert response.json()["code"] == Code.PAYLOAD_TOO_LARGE
    assert gateway.services.calls == []


async def test_a_body_without_end_ends_the_connection(gateway: Gateway) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with suppress(ConnectionError):
        assert (await _talk(gateway.url, head + 17 * chunk)).startswith(b"HTTP/1.1 413 ")
    assert gateway.services.calls == []


async def test_cors_is_off_unless_origins_are_set(start: Start) -> None:
    asking = {"Origin": "https://chat.example.com", "Access-Control-Request-Method": "PATCH"}
    async with start() as gateway:
        response = await gateway.anonymous("OPTIONS", ME, headers=asking)
        assert response.status_code == 405
        assert "access-control-allow-origin" not in response.headers
    async with start(cors_origins=["https://chat.example.com"]) as gateway:
        response = await gateway.anonymous("OPTIONS", ME, headers=asking)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://chat.example.com"
        refused = await gateway.anonymous("GET", ME, headers={"Origin": asking["Origin"]})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://chat.example.com"
        other = await gateway.anonymous("GET", ME, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_requests_are_counted_by_route_and_status(answering: Gateway) -> None:
    port = answering.resources.dev_server.port
    for path in (ME, "/v1/users/abc", "/v1/users/def", "/made/up"):
        await answering.request("GET", path)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        text = (await http.get("/metrics")).text
    counts = {line for line in text.splitlines() if line.startswith("im_http_seconds_count")}
    assert any('route="/v1/users/me",status="200"' in line for line in counts)
    assert any('route="/v1/users/{user_id}",status="400"' in line for line in counts)
    assert any('route="none",status="404"' in line for line in counts)
    assert not any("abc" in line or "made" in line for line in counts)


async def test_a_request_in_flight_is_finished_at_the_end(start: Start) -> None:
    async with start() as gateway:
        go_on = asyncio.Event()

        async def wait(_message: object) -> user_pb2.GetProfileResponse:
            await go_on.wait()
            return user_pb2.GetProfileResponse()

        gateway.services.answers["GetProfile"] = wait
        response = asyncio.create_task(gateway.request("GET", ME))
        await eventually(lambda: gateway.services.calls)
        gateway.resources.ending.set()
        await eventually(lambda: _refuses(gateway.url))
        assert await gateway.resources.dev_server.failing() != {}
        go_on.set()
        assert (await response).status_code == 200
        await gateway.ended


async def test_a_taken_port_ends_the_start(gateway: Gateway, start: Start) -> None:
    from api_gateway.server import HttpServer

    async def nothing(*_: object) -> None: ...

    http = gateway.settings.http
    with pytest.raises(OSError, match="in use"):
        async with HttpServer(nothing, http, http.limits, grace_ms=0):
            pass


async def _never(_message: object) -> Any:
    await asyncio.get_running_loop().create_future()


async def _talk(url: str, sent: bytes) -> bytes:
    """All that the server says to ``sent`` until it closes the connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def _refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was in the queue of the socket that was just closed
        return False
    writer.close()
    return False
