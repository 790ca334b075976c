"""A WebSocket of the gateway, with clients that do as they should and others, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol as LibraryProtocol

from im_common.domain.frames import MAX_FRAME_BYTES
from im_common.runtime.http_limits import Guests
from ws_gateway.server import socket as socket_module
from ws_gateway.server.pings import Pings
from ws_gateway.server.protocol import ServerProtocol, text_head
from ws_gateway.server.socket import READ_BYTES, Closed, Socket

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on one of the event loops."""

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await main

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return run_it


class Server:
    """What came in, in order; then whatever a test does with the socket."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.sockets: asyncio.Queue[Socket] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.refusal: HTTPStatus | None = None
        # Whether the client is told of its handshake with the first text.
        self.with_text = False
        # Waited for before the handshake is answered.
        self.check: Callable[[], Awaitable[Any]] | None = None
        # Waited for before each text is taken.
        self.before: Callable[[], Awaitable[Any]] | None = None
        self.port = 0

    async def serve(self, socket: Socket, request: Request) -> None:
        if self.check is not None:
            await self.check()
        if self.refusal is not None:
            socket.refuse(self.refusal, "no\n", {"Retry-After": "2"})
        elif socket.accept(request, with_text=self.with_text):
            self.sockets.put_nowait(socket)
            try:
                while True:
                    if self.before is not None:
                        await self.before()
                    await socket.readable()
                    self.received.put_nowait(socket.take())
            except Closed:
                pass
        await socket.ended()
        self.ended.set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection without any protocol."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``raw``, after the handshake."""
        reader, writer = await self.raw()
        writer.write(HANDSHAKE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return reader, writer


@asynccontextmanager
async def served(
    newcomers: Guests | None = None, pings: Pings | None = None
) -> AsyncIterator[Server]:
    pings = pings or Pings()
    server, buffer = Server(), memoryview(bytearray(READ_BYTES))
    listener = await asyncio.get_running_loop().create_server(
        lambda: Socket(server.serve, lambda _protocol, _offered: None, buffer, pings, newcomers),
        "127.0.0.1",
        0,
    )
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def connected(
    pings: Pings | None = None,
) -> AsyncIterator[tuple[Server, Socket, ClientConnection]]:
    async with served(pings=pings) as server, connect(server.url, compression=None) as client:
        yield server, await server.sockets.get(), client


def test_a_client_may_be_told_of_its_handshake_with_the_first_text_or_the_close(run: Run) -> None:
    async def main(say: Callable[[Socket], None], expected: bytes) -> None:
        async with served() as server:
            server.with_text = True
            reader, writer = await server.raw()
            writer.write(HANDSHAKE)
            socket = await server.sockets.get()
            assert socket.writable
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read(1)
            say(socket)
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(expected)) == expected
            writer.close()
            await server.ended.wait()

    run(main(lambda socket: socket.write([b"hello"]), b"\x81\x05hello"))
    run(main(lambda socket: socket.close(4002, "no"), b"\x88\x04\x0f\xa2no"))


def test_messages_come_whole_and_in_order_and_go_out(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, socket, client):
            await client.send("one")
            await client.send(["tw", "o ", "ü"])
            await client.send(b"\x00\xff")
            await client.send("x" * MAX_FRAME_BYTES)
            got = [await server.received.get() for _ in range(4)]
            assert got == ["one", "two ü", b"\x00\xff", "x" * MAX_FRAME_BYTES]
            socket.write([b"a", b"b" * 200, b"c" * 70_000])
            assert [await client.recv() for _ in range(3)] == ["a", "b" * 200, "c" * 70_000]

    run(main())


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Opcode.TEXT, b"\xc3(").serialize(mask=True), 1007),
        (Frame(Opcode.TEXT, b"x" * (MAX_FRAME_BYTES + 1)).serialize(mask=True), 1009),
        (Frame(Opcode.CONT, b"x").serialize(mask=True), 1002),
        (Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002),
    ],
    ids=["not UTF-8", "too big", "goes on with nothing", "not masked"],
)
def test_who_breaks_the_protocol_is_told_how(run: Run, frame: bytes, code: int) -> None:
    async def main() -> None:
        async with connected() as (server, _, client):
            await client.send("before")
            client.transport.write(frame)
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == code
            await server.ended.wait()
            assert server.received.get_nowait() == "before"
            assert server.received.empty()

    run(main())


def test_what_was_sent_before_a_close_is_still_taken(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, _, client):
            for number in range(300):
                await client.send(str(number))
            await client.close(1000, "bye")
            await server.ended.wait()
            assert [server.received.get_nowait() for _ in range(300)] == [
                str(number) for number in range(300)
            ]
            assert (client.close_code, client.close_reason) == (1000, "bye")

    run(main())


def test_a_client_that_vanishes_ends_its_socket(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, _, client):
            client.transport.abort()
            await server.ended.wait()

    run(main())


def test_a_client_that_vanishes_during_the_handshake_ends_its_socket(run: Run) -> None:
    async def main() -> None:
        async with served() as server:
            asked, gone = asyncio.Event(), asyncio.Event()

            async def check() -> None:
                asked.set()
                await gone.wait()

            server.check = check
            _, writer = await server.raw()
            writer.write(HANDSHAKE)
            await asked.wait()
            writer.transport.abort()
            await asyncio.sleep(0.1)
            gone.set()
            await server.ended.wait()
            assert server.sockets.empty()

    run(main())


def test_the_server_says_why_it_closes(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, socket, client):
            socket.write([b"last"])
            socket.close(4002, "kicked")
            assert await client.recv() == "last"
            await client.wait_closed()
            assert (client.close_code, client.close_reason) == (4002, "kicked")
            await server.ended.wait()

    run(main())


def test_who_does_not_answer_a_close_is_cut_off_though_it_goes_on_sending(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_module, "CLOSE_TIMEOUT_S", 0.2)

    async def main() -> None:
        async with served() as server:
            _, writer = await server.opened()
            (await server.sockets.get()).close(1001, "going away")
            ping = Frame(Opcode.TEXT, b"x").serialize(mask=True)
            while not server.ended.is_set():
                writer.write(ping)
                await asyncio.sleep(0.01)
            writer.close()

    run(main())


def test_who_says_nothing_between_two_pings_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_module, "CLOSE_TIMEOUT_S", 0.1)

    async def main() -> None:
        async with served(pings=Pings(0.1)) as server:
            reader, writer = await server.opened()
            await server.ended.wait()
            assert (await reader.read()).startswith(b"\x89\x00\x88")  # a ping, a close
            writer.close()

    run(main())


def test_who_answers_pings_stays(run: Run) -> None:
    async def main() -> None:
        async with connected(Pings(0.4)) as (server, socket, client):
            await asyncio.sleep(1.5)
            socket.write([b"still here"])
            assert await client.recv() == "still here"
            assert not server.ended.is_set()

    run(main())


def test_a_client_that_does_not_read_makes_it_unwritable_until_it_reads(run: Run) -> None:
    async def main() -> None:
        async with served() as server:
            reader, writer = await server.opened()
            socket, writable = await server.sockets.get(), asyncio.Event()
            socket.on_writable = writable.set
            count = 0
            while socket.writable:
                socket.write([b"x" * 60_000])
                count += 1
            assert not writable.is_set()
            size = len(Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=False))
            for _ in range(count):
                await reader.readexactly(size)
            await writable.wait()
            assert socket.writable
            writer.close()

    run(main())


def test_a_flood_is_read_no_faster_than_it_is_taken(run: Run) -> None:
    async def main() -> None:
        async with served() as server:
            may_go = asyncio.Event()
            server.before = may_go.wait
            _, writer = await server.opened()
            frame = Frame(Opcode.TEXT, b"x" * 10_000).serialize(mask=True)
            sent = 0
            try:
                while True:
                    writer.write(frame)
                    sent += 1
                    async with asyncio.timeout(0.5):
                        await writer.drain()
            except TimeoutError:
                pass
            may_go.set()
            for _ in range(sent):
                assert await server.received.get() == "x" * 10_000
            writer.close()

    run(main())


def test_a_handshake_takes_only_so_long(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_module, "OPEN_TIMEOUT_S", 0.1)

    async def main() -> None:
        async with served() as server:
            reader, writer = await server.raw()
            writer.write(b"GET / HTTP/1.1\r\n")
            with suppress(ConnectionError):
                assert not await reader.read()
            writer.close()

    run(main())


def test_silent_newcomers_give_way_to_others_and_open_sockets_never(run: Run) -> None:
    async def main() -> None:
        async with served(Guests(3, 0)) as server:
            _, opened = await server.opened()
            silent = [await server.raw() for _ in range(10)]
            for reader, _ in silent[:7]:
                with suppress(ConnectionError):
                    assert not await reader.read()
            async with connect(server.url, compression=None) as client:
                await client.send("hello")
                assert await server.received.get() == "hello"
            opened.write(Frame(Opcode.TEXT, b"still here").serialize(mask=True))
            assert await server.received.get() == "still here"
            for writer in (opened, *(writer for _, writer in silent)):
                writer.close()

    run(main())


def test_who_is_refused_gets_the_status(run: Run) -> None:
    async def main() -> None:
        async with served() as server:
            server.refusal = HTTPStatus.TOO_MANY_REQUESTS
            with pytest.raises(InvalidStatus) as refused:
                async with connect(server.url):
                    pass
            response = refused.value.response
            assert (response.status_code, response.headers["Retry-After"]) == (429, "2")
            await server.ended.wait()

    run(main())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 8_000 + b"\r\n") * 5, b"431"),
        (b"hello\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\nHost: x\n\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_websocket_is_refused(run: Run, request_: bytes, status: bytes) -> None:
    async def main() -> None:
        async with served() as server:
            reader, writer = await server.raw()
            writer.write(request_)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert answer.partition(b"\r\n\r\n")[2].endswith(b"\n")
            writer.close()

    run(main())


def test_however_the_bytes_are_cut_it_takes_what_the_library_takes() -> None:
    """Frames as clients send them, and others, in pieces of any size."""
    random = Random(7)
    closed = 0
    for _ in range(2_000):
        stream = b"".join(_some_frame(random) for _ in range(random.randrange(1, 12)))
        cuts = sorted(random.randrange(len(stream) + 1) for _ in range(random.randrange(6)))
        pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
        ours, theirs = (_taken(kind, pieces) for kind in (ServerProtocol, LibraryProtocol))
        assert ours == theirs
        closed += theirs[2] is not None
    assert 200 < closed < 1_800


def _some_frame(random: Random) -> bytes:
    size = random.choice([0, 1, 5, 125, 126, 199, 200, random.randrange(202)])
    opcode, is_whole = random.choices(
        [(Opcode.TEXT, True), (Opcode.TEXT, False), (Opcode.CONT, True), (Opcode.PING, True)],
        [40, 2, 2, 3],
    )[0]
    data = "".join(random.choices("xü", [300, 1], k=size)).encode()[:size]
    if opcode is Opcode.PING:
        data = data[:125]
    elif random.random() < 0.01:
        data = b"x" * 201
    frame = bytearray(Frame(opcode, data, is_whole).serialize(mask=True))
    if random.random() < 0.02:
        frame[random.randrange(2)] ^= 1 << random.randrange(8)
    return bytes(frame)


def _taken(kind: type[LibraryProtocol], pieces: list[bytes]) -> tuple[list[Any], bytes, Any]:
    """What came, what it writes, and how it closes."""
    protocol = kind(max_size=200)
    protocol.receive_data(HANDSHAKE)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    came: list[Any] = []
    for piece in pieces:
        if piece:
            protocol.receive_data(piece)
        came += [_as_frame(event) for event in protocol.events_received()]
    written = b"".join(protocol.data_to_send()).partition(b"\r\n\r\n")[2]
    return came, written, protocol.close_sent


def _as_frame(event: Any) -> tuple[Opcode, bytes, bool]:
    if isinstance(event, str):
        return Opcode.TEXT, event.encode(), True
    return event.opcode, bytes(event.data), event.fin


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_text_goes_out_as_the_library_writes_it(size: int) -> None:
    text = b"x" * size
    assert text_head(size) + text == Frame(Opcode.TEXT, text).serialize(mask=False)
