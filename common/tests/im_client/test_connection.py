"""What the client does at each close code, with a gateway of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from im_client.close_codes import Action, after_close, backoff_s
from im_client.connection import Connection, State, Uses

LIMIT_S = 20.0
Frame = dict[str, Any]


class Session:
    """Of a user who is logged in until ``end``."""

    def __init__(self) -> None:
        self.user_id: int | None = 1001
        self.renewed: list[str] = []
        self.ended: list[str] = []

    async def access(self) -> str:
        return f"token{len(self.renewed)}"

    async def renew(self, stale: str) -> str:
        self.renewed.append(stale)
        return await self.access()

    async def end(self, reason: str) -> None:
        self.user_id = None
        self.ended.append(reason)


Scene = Callable[[ServerConnection], Awaitable[None]]


@dataclass
class World:
    """Two gateways, which treat connections as the scenes say, one after the other; the last one
    lasts."""

    scenes: list[Scene] = field(default_factory=list)
    # Of each connection: the gateway's number, the token, the query.
    came: list[tuple[int, str, str]] = field(default_factory=list)
    # Of each handshake that is refused, first: the status.
    refusals: list[int] = field(default_factory=list)
    session: Session = field(default_factory=Session)
    frames: list[Frame] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    received: list[Frame] = field(default_factory=list)
    replaced: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()

    async def visit(self, gateway: int, socket: ServerConnection) -> None:
        assert socket.request
        token = socket.request.headers["Authorization"].removeprefix("Bearer ")
        self.came.append((gateway, token, socket.request.path.partition("?")[2]))
        self.changed.set()
        if self.scenes:
            await self.scenes.pop(0)(socket)
        else:
            await greet(socket)
            async for text in socket:
                self.received.append(json.loads(text))
                self.changed.set()

    def refuse(self, _: ServerConnection, __: Request) -> Response | None:
        if not self.refusals:
            return None
        return Response(self.refusals.pop(0), "refused", Headers({"Content-Length": "0"}))


async def greet(socket: ServerConnection, heartbeat_ms: int = 30_000) -> None:
    await socket.send(json.dumps({"type": "hello", "heartbeat_ms": heartbeat_ms}))


def closing(code: int, reason: str = "", kick: str = "") -> Scene:
    async def scene(socket: ServerConnection) -> None:
        await greet(socket)
        if kick:
            await socket.send(json.dumps({"type": "kick", "reason": kick}))
        await socket.close(code, reason)

    return scene


def uses(world: World, urls: list[str]) -> Uses:
    async def where() -> list[str]:
        return urls

    async def take(frame: Frame) -> None:
        world.frames.append(frame)
        world.changed.set()

    def state(now: State) -> None:
        world.states.append(now)
        world.changed.set()

    def replace() -> None:
        world.replaced += 1

    return Uses(
        session=world.session, urls=where, query=lambda: {"device_id": f"d{world.replaced}"},
        on_frame=take, on_state=state, on_replaced=replace, chance=lambda: 0.0,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def connection(world: World) -> AsyncIterator[Connection]:
    """One that runs."""
    servers: list[Server] = []
    for number in range(2):

        async def visit(socket: ServerConnection, number: int = number) -> None:
            await world.visit(number, socket)

        refuse = world.refuse
        servers.append(await serve(visit, "127.0.0.1", 0, process_request=refuse))
    ports = [next(iter(server.sockets)).getsockname()[1] for server in servers]
    running = Connection(uses(world, [f"ws://127.0.0.1:{port}/ws/connect" for port in ports]))
    task = asyncio.create_task(running.run())
    yield running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_it_brings_the_token_and_is_online_at_hello(
    world: World, connection: Connection
) -> None:
    assert not connection.send({"type": "ping"})
    await world.until(lambda: connection.state is State.ONLINE)
    assert world.came == [(0, "token0", "device_id=d0")]
    assert connection.send({"type": "typing", "to": 1002})
    await world.until(lambda: world.received == [{"type": "typing", "to": 1002}])


async def test_4001_it_renews_the_token_it_came_with_and_is_back_at_once(
    world: World, connection: Connection
) -> None:
    world.scenes.append(closing(4001))
    await world.until(lambda: len(world.came) == 2 and connection.state is State.ONLINE)
    assert world.session.renewed == ["token0"]
    # At the same gateway.
    assert world.came == [(0, "token0", "device_id=d0"), (0, "token1", "device_id=d0")]


async def test_a_handshake_that_is_refused_is_taken_as_its_close_code(
    world: World, connection: Connection
) -> None:
    world.refusals += [401, 403]
    await world.until(lambda: connection.state is State.OFF and bool(world.session.ended))
    assert (world.session.renewed, world.session.ended) == (["token0"], ["4002"])
    assert world.came == []


async def test_4002_after_a_kick_the_session_is_over(world: World, connection: Connection) -> None:
    world.scenes.append(closing(4002, kick="the session has ended"))
    await world.until(lambda: connection.state is State.OFF and bool(world.session.ended))
    assert world.session.ended == ["the session has ended"]
    assert len(world.came) == 1


async def test_4002_because_another_came_under_its_name_it_comes_back_under_another(
    world: World, connection: Connection
) -> None:
    world.scenes.append(closing(4002, kick="this device has connected again"))
    await world.until(lambda: len(world.came) == 2 and connection.state is State.ONLINE)
    assert world.session.ended == []
    assert [query for _, _, query in world.came] == ["device_id=d0", "device_id=d1"]


@pytest.mark.parametrize(
    ("code", "reason", "gateway"),
    [(1001, "", 1), (1001, "going away; retry_after_ms=20", 1), (1006, "", 1), (4003, "", 0)],
)
async def test_it_comes_back_to_the_gateway_that_the_code_asks_for(
    world: World, connection: Connection, code: int, reason: str, gateway: int
) -> None:
    async def cut(socket: ServerConnection) -> None:
        await greet(socket)
        socket.transport.abort()

    world.scenes.append(cut if code == 1006 else closing(code, reason))
    await world.until(lambda: len(world.came) == 2 and connection.state is State.ONLINE)
    assert [number for number, _, _ in world.came] == [0, gateway]
    assert State.WAITING in world.states


async def test_a_gateway_that_says_nothing_is_asked_whether_it_is_there(
    world: World, connection: Connection
) -> None:
    answered = asyncio.Event()

    async def silent(socket: ServerConnection) -> None:
        await greet(socket, heartbeat_ms=20)
        assert json.loads(await socket.recv()) == {"type": "ping"}
        await socket.send('{"type": "pong"}')
        answered.set()
        await socket.close(4003)

    world.scenes.append(silent)
    await asyncio.wait_for(answered.wait(), LIMIT_S)
    await world.until(lambda: len(world.came) == 2 and connection.state is State.ONLINE)
    assert {frame["type"] for frame in world.frames} == {"hello"}


async def test_it_comes_back_while_much_waits_for_a_gateway_that_reads_nothing_any_more(
    world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("im_client.connection._PONG_S", 0.2)

    async def gone(socket: ServerConnection) -> None:
        await greet(socket, heartbeat_ms=200)
        socket.transport.pause_reading()
        await world.until(lambda: len(world.came) == 2)
        socket.transport.abort()

    world.scenes.append(gone)
    await world.until(lambda: connection.state is State.ONLINE)
    # More than the buffers of both ends take.
    connection.send({"type": "chat", "to": 1002, "content": "x" * 30_000_000})
    await world.until(lambda: len(world.came) == 2 and connection.state is State.ONLINE)


async def test_a_nudge_ends_a_wait(world: World, connection: Connection) -> None:
    world.scenes.append(closing(4004))
    await world.until(lambda: connection.state is State.WAITING)
    begin = asyncio.get_running_loop().time()
    connection.nudge()
    await world.until(lambda: connection.state is State.ONLINE)
    assert asyncio.get_running_loop().time() - begin < 5


def test_how_long_it_waits_after_each_code() -> None:
    told = after_close(1001, 3, chance=lambda: 0.5, reason="going away; retry_after_ms=1234")
    assert (told.wait_s, told.elsewhere) == (1.234, True)
    assert after_close(1001, 3, chance=lambda: 0.5).wait_s == 1.5
    assert after_close(4001, 0).action is Action.REFRESH
    assert after_close(4001, 0).wait_s == 0
    assert after_close(1013, 0, chance=lambda: 0.0).wait_s == 1.25
    for code in (4004, 4008):
        assert after_close(code, 0, chance=lambda: 0.0).wait_s >= 5


def test_waits_grow_to_thirty_seconds_and_are_never_the_same_for_all() -> None:
    attempts = (0, 1, 2, 6, 50)
    assert [backoff_s(n, lambda: 1.0) for n in attempts] == [0.5, 1, 2, 30, 30]
    assert [backoff_s(n, lambda: 0.0) for n in attempts] == [0.25, 0.5, 1, 15, 15]


async def test_a_nudge_just_before_the_end_does_not_keep_it_from_ending(world: World) -> None:
    # Nobody listens there: it waits for its next try.
    running = Connection(uses(world, ["ws://127.0.0.1:9/ws/connect"]))
    task = asyncio.create_task(running.run())
    await world.until(lambda: running.state is State.WAITING)
    await asyncio.sleep(0)
    running.nudge()
    # The wait ends in this turn of the loop, and the end is asked for in the same.
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5.0)
    assert done
    assert task.cancelled()
