"""What a client that is not known yet may take: header bytes, time, connections."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from im.user.v1 import user_pb2
from im_common.testing.waiting import eventually

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

START = b"GET /.well-known/x HTTP/1.1\r\nHost: x\r\n"
LOGIN = b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\n"
QUICK = {"header_timeout": 300, "first_request_timeout": 600, "body_timeout": 300}


class Raw:
    """A connection without any protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """As far as the other side takes it."""
        with suppress(ConnectionError):
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()

    async def answers(self, of_s: float = 10) -> list[tuple[int, str]]:
        """Status and code of each answer, until the other side closes."""
        said = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(of_s):
                said = await self._reader.read()
        return [
            (int(found[1]), json.loads(found[2] or "{}").get("code", ""))
            for found in re.finditer(rb"HTTP/1.1 (\d+) .*?\r\n\r\n(\{.*?\})?", said, re.DOTALL)
        ]

    async def status(self) -> int:
        """Of one answer, that is read without an end of the connection."""
        return (await self._answer())[0]

    async def problem(self) -> Any:
        """The body of one answer, that is read as ``status`` does."""
        return json.loads((await self._answer())[1])

    async def _answer(self) -> tuple[int, bytes]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        return int(head.split()[1]), await self._reader.readexactly(int(length[1]))

    @property
    def is_cut_off(self) -> bool:
        """Whether the other side takes nothing more, as far as is seen by what was sent."""
        return self._writer.is_closing()

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def talking(url: str) -> AsyncIterator[Raw]:
    host, _, port = url.removeprefix("http://").partition(":")
    raw = Raw(*await asyncio.open_connection(host, int(port)))
    try:
        yield raw
    finally:
        raw.close()


def _header(size: int, head: bytes = START, name: bytes = b"X-A") -> bytes:
    """A whole header of so many bytes."""
    return head + name + b": " + b"x" * (size - len(head) - len(name) - 6) + b"\r\n\r\n"


TOO_LONG = [(431, "PAYLOAD_TOO_LARGE")]


@pytest.mark.parametrize(
    "pieces",
    [
        [_header(32 * 1024 + 1)],
        [_header(8 * 1024 * 1024)],
        [_header(40_000)[i : i + 1000] for i in range(0, 40_000, 1000)],
        [START + b"X-A: y\r\n" * 5_000],
        [START + b"x" * 33_000],
        [b"GET /" + b"x" * 33_000],
        [b"x" * 1000, b"y" * 40_000],
        [START + b"X-A: "] + [b"x" * 65_536] * 512,
    ],
    ids=["one byte", "8 MiB", "pieces", "lines", "name", "target", "method", "32 MiB, no end"],
)
async def test_a_header_beyond_32_kib_is_refused_and_holds_nobody_up(
    gateway: Gateway, pieces: list[bytes]
) -> None:
    async with talking(gateway.url) as raw:
        sending = asyncio.create_task(raw.send(*pieces))
        async with asyncio.timeout(10):
            assert (await gateway.anonymous("GET", "/v1/nothing")).status_code == 404
        answers = await raw.answers()
        await sending
    # What is no method is no HTTP from its first byte on.
    assert answers in (TOO_LONG, [(400, "INVALID_ARGUMENT")] if pieces[0][:1] == b"x" else TOO_LONG)


async def test_a_header_of_32_kib_is_read_also_the_second_time(gateway: Gateway) -> None:
    async with talking(gateway.url) as raw:
        for _ in range(2):
            whole = _header(32 * 1024)
            await raw.send(whole[:20_000], whole[20_000:])
            assert await raw.status() == 404
        await raw.send(_header(32 * 1024 + 1))
        assert await raw.answers() == TOO_LONG


async def test_pipelined_requests_are_measured_one_by_one(gateway: Gateway) -> None:
    async with talking(gateway.url) as raw:
        await raw.send(_header(20_000) * 3 + _header(40_000))
        answers = await raw.answers()
    assert answers == [(404, "NOT_FOUND")] * 3


async def test_trailers_without_end_are_no_body(gateway: Gateway) -> None:
    head = LOGIN + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    async with talking(gateway.url) as raw:
        await raw.send(head, b"X-A: ", *[b"x" * 65_536] * 64)
        assert await raw.answers() == TOO_LONG


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", []),
        (b"\r\n", []),
        (START, [(408, "DEADLINE_EXCEEDED")]),
        (LOGIN + b"Content-Length: 9\r\n\r\n{", [(408, "DEADLINE_EXCEEDED")]),
        (
            LOGIN.replace(b"/v1", b"/v0") + b"Content-Length: 9\r\n\r\n{",
            [(404, "NOT_FOUND")],
        ),
    ],
    ids=["nothing", "no request", "half a header", "half a body", "half a body of a refused one"],
)
async def test_who_does_not_go_on_is_cut_off(
    start: Start, sent: bytes, answer: list[tuple[int, str]]
) -> None:
    async with start(**QUICK) as gateway, talking(gateway.url) as raw:
        await raw.send(sent)
        assert await raw.answers() == answer


@pytest.mark.parametrize("sent", [START, LOGIN + b"Content-Length: 9999\r\n\r\n"])
async def test_a_byte_now_and_then_buys_no_time(start: Start, sent: bytes) -> None:
    async with start(**QUICK) as gateway, talking(gateway.url) as raw:
        await raw.send(sent)
        ended = asyncio.create_task(raw.answers())
        async with asyncio.timeout(20):
            while not ended.done():
                await raw.send(b"x")
                await asyncio.sleep(0.05)
        assert ended.result() == [(408, "DEADLINE_EXCEEDED")]


async def test_who_goes_on_sending_what_was_refused_is_cut_off_in_the_end(start: Start) -> None:
    async with start(**QUICK) as gateway, talking(gateway.url) as raw:
        await raw.send(LOGIN + b"Content-Length: 99999999\r\n\r\n")
        assert await raw.answers() == [(413, "PAYLOAD_TOO_LARGE")]
        async with asyncio.timeout(20):
            while not raw.is_cut_off:
                await raw.send(b"x")
                await asyncio.sleep(0.05)


async def test_an_idle_connection_is_no_shelter_for_half_a_header(start: Start) -> None:
    async with start(**QUICK) as gateway, talking(gateway.url) as raw:
        for _ in range(2):
            await raw.send(START + b"\r\n")
            assert await raw.status() == 404
        await raw.send(b"\r\nGET / HT")
        assert await raw.answers() == [(408, "DEADLINE_EXCEEDED")]


async def test_silent_connections_keep_nobody_out(start: Start) -> None:
    async with start(max_connections_per_address=20) as gateway, _crowd(gateway.url, 100):
        gateway.services.answers["GetProfile"] = user_pb2.GetProfileResponse()
        for _ in range(5):
            assert (await gateway.request("GET", "/v1/users/me")).status_code == 200
        port = gateway.resources.dev_server.port
        async with _crowd(f"http://127.0.0.1:{port}", 300), httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200


async def test_who_is_being_served_never_gives_way(start: Start) -> None:
    async with start(max_connections_per_address=3) as gateway:
        go_on = asyncio.Event()

        async def wait(_message: object) -> user_pb2.GetProfileResponse:
            await go_on.wait()
            return user_pb2.GetProfileResponse()

        gateway.services.answers["GetProfile"] = wait
        served = [asyncio.create_task(gateway.request("GET", "/v1/users/me")) for _ in range(3)]
        await eventually(lambda: len(gateway.services.calls) == 3)
        async with talking(gateway.url) as raw:
            assert await raw.answers() == [(503, "UNAVAILABLE")]
        go_on.set()
        assert [(await one).status_code for one in served] == [200] * 3
        assert (await gateway.request("GET", "/v1/nothing")).status_code == 404


async def test_behind_proxies_an_address_is_no_client(start: Start) -> None:
    async with (
        start(max_connections_per_address=2, trusted_proxies=1) as gateway,
        talking(gateway.url) as first,
        _crowd(gateway.url, 5),
    ):
        await first.send(START + b"\r\n")
        assert await first.status() == 404


async def test_what_is_no_http_is_a_problem_too(gateway: Gateway) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\n\r\n",
    ):
        async with talking(gateway.url) as raw:
            await raw.send(sent)
            problem = await raw.problem()
            assert (problem["status"], problem["code"]) == (400, "INVALID_ARGUMENT")
            assert re.fullmatch(r"[0-9a-f]{16}", problem["request_id"])


async def test_a_request_to_speak_something_else_is_answered_as_it_is(gateway: Gateway) -> None:
    asked = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with talking(gateway.url) as raw:
        await raw.send(START + asked + b"what follows")
        assert await raw.answers() == [(404, "NOT_FOUND")]


@asynccontextmanager
async def _crowd(url: str, size: int) -> AsyncIterator[None]:
    """Connections that say nothing."""
    host, _, port = url.removeprefix("http://").partition(":")
    streams = [await asyncio.open_connection(host, int(port)) for _ in range(size)]
    try:
        yield
    finally:
        for _, writer in streams:
            writer.close()
