"""The WebSocket server: one reader and one writer for each connection. What the socket takes at once
is written without the writer.

A writer that cannot write for SEND_TIMEOUT_S aborts the transport: the protocol's own closing
handshake would wait for a client that reads nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from im_common import frames
from im_common.context import current
from im_common.ids import now_ms
from im_common.rate import Bucket
from im_common.routes import Route
from ws_gateway.logic.connection import GOING_AWAY, TOO_SLOW, Connection, Queued
from ws_gateway.logic.inbound import Inbound
from ws_gateway.logic.offline import Drain
from ws_gateway.logic.requests import Requests
from ws_gateway.server.handshake import SUBPROTOCOL, Admission, Refusal, check
from ws_gateway.svc import ServiceContext

log = structlog.get_logger(__name__)

SEND_TIMEOUT_S = 2.0
# Frames of one connection that are taken before the others have their turn; fewer while messages are
# refused, so that what was taken is answered.
FRAMES_A_TURN = 16
REFUSED_A_TURN = 4
# Frames in one write, under one time limit.
BURST = 64


class WebSocketServer:
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc
        # Random from the start, so that a restarted instance gives none that is still in a route.
        self._ids = itertools.count(secrets.randbits(48) << 8)
        self._server: Server | None = None

    async def start(self) -> None:
        """Listens. Raises OSError when the port is taken."""
        host, _, port = self._svc.settings.web_socket.listen_on.rpartition(":")
        self._server = await serve(
            self._serve_one,
            host,
            int(port),
            process_request=self._process_request,
            select_subprotocol=_select_subprotocol,
            compression=None,
            max_size=frames.MAX_FRAME_BYTES,
            max_queue=16,
            write_limit=64 * 1024,
            open_timeout=5,
            ping_interval=20,
            ping_timeout=20,
            close_timeout=2,
            server_header=None,
        )

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self, within_s: float) -> None:
        """Refuses newcomers, lets what is in hand be answered, sends everybody elsewhere."""
        self._svc.draining = True
        await _until(lambda: not len(self._svc.in_flight), within_s)
        for connection in self._svc.connections.all():
            connection.end(GOING_AWAY, "going away")
        await _until(lambda: not len(self._svc.connections), within_s)
        if self._server is not None:
            self._server.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2)

    async def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        try:
            outcome = await check(self._svc, request)
        except Exception:
            log.exception("handshake failed")
            outcome = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        if isinstance(outcome, Refusal):
            response = socket.respond(outcome.status, outcome.text + "\n")
            if outcome.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
                response.headers["Retry-After"] = "2"
            return response
        socket.admission = outcome  # type: ignore[attr-defined]
        return None

    async def _serve_one(self, socket: ServerConnection) -> None:
        admission: Admission = socket.admission  # type: ignore[attr-defined]
        svc, connection = self._svc, self._connection(admission)
        drain = Drain(connection, svc.offline, svc.recalls, partial(self._others, connection))
        connection.hold()
        # First in the table, then in Redis: whoever finds the route finds the connection.
        svc.connections.add(connection)
        writer = asyncio.create_task(self._write(socket, connection))
        sending = asyncio.create_task(drain.run())
        try:
            await svc.routes.put([(connection.user_id, connection.route)])
            svc.presence.came(connection)
            # Only now: what the client asks for from here on (`sync`) and what is pushed leave no gap
            # between them.
            connection.open(self._hello(connection, admission))
            drain.look()
            await self._read(socket, connection, drain)
        except ConnectionClosed:
            pass
        except Exception as error:
            log.warning("connection failed", user_id=connection.user_id, error=repr(error))
            connection.end(GOING_AWAY, "try again elsewhere")
        finally:
            await self._close(connection, sending, writer)

    def _others(self, connection: Connection) -> list[Connection]:
        return [c for c in self._svc.connections.of(connection.user_id) if c is not connection]

    def _connection(self, admission: Admission) -> Connection:
        connection_id = next(self._ids)
        route = Route(self._svc.address, connection_id, admission.platform, admission.device_id)
        max_queue = self._svc.settings.web_socket.max_queue
        return Connection(connection_id, admission.identity, route, max_queue)

    def _hello(self, connection: Connection, admission: Admission) -> bytes:
        return frames.encode(
            frames.Hello(
                user_id=connection.user_id,
                session_id=connection.identity.session_id,
                device_id=admission.device_id,
                server_time=now_ms(),
                heartbeat_ms=self._svc.settings.web_socket.heartbeat,
            )
        )

    def _rate(self) -> Bucket | None:
        conf = self._svc.settings.web_socket
        if self._svc.settings.rate_limits == "off":
            return None
        return Bucket(conf.messages_per_second, conf.message_burst)

    async def _read(self, socket: ServerConnection, connection: Connection, drain: Drain) -> None:
        current.set(None)
        svc = self._svc
        requests = Requests(connection, svc.chat)
        inbound = Inbound(
            connection,
            drain,
            svc.in_flight,
            svc.producer,
            svc.address,
            relay=svc.relay,
            requests=requests,
            rate=self._rate(),
        )
        try:
            turn = 0
            async for text in socket:
                if connection.ending is not None:
                    return
                connection.heard_at = now_ms()
                await inbound.handle(text)
                turn += 1
                if turn >= (FRAMES_A_TURN if svc.in_flight.has_room else REFUSED_A_TURN):
                    # The answers of others must not wait for the end of a flood.
                    turn = 0
                    await asyncio.sleep(0)
        finally:
            await requests.close()

    async def _write(self, socket: ServerConnection, connection: Connection) -> None:
        queue, wake = connection.queue, connection.wake
        try:
            while connection.ending is None or (connection.ending.flush and queue):
                connection.write_now = partial(_write_now, socket, queue)
                await wake.wait()
                connection.write_now = None
                wake.clear()
                while queue and (connection.ending is None or connection.ending.flush):
                    burst = list(itertools.islice(queue, BURST))
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await _send(socket, burst)
                    # Only now: what may not have reached the socket stays for the offline list.
                    for _ in burst:
                        queue.popleft()
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.close(connection.ending.code, connection.ending.reason)
        except TimeoutError:
            connection.end(TOO_SLOW, "too slow")
        except ConnectionClosed:
            return
        # Nothing that the protocol could still say would be read.
        if socket.transport is not None:
            socket.transport.abort()

    async def _close(
        self, connection: Connection, sending: asyncio.Task[None], writer: asyncio.Task[None]
    ) -> None:
        svc = self._svc
        if connection.ending is not None:
            await asyncio.wait([writer], timeout=2 * SEND_TIMEOUT_S)
        for task in (writer, sending):
            task.cancel()
        await asyncio.gather(writer, sending, return_exceptions=True)
        svc.connections.remove(connection)
        try:
            unsent = connection.unsent_messages()
            if unsent and not svc.connections.of(connection.user_id):
                await svc.offline.append([(connection.user_id, unsent)])
            await svc.routes.remove([(connection.user_id, connection.route)])
            if read_until := connection.read_until():
                device_id = connection.route.device_id
                await svc.recalls.heard(connection.user_id, device_id, read_until)
            svc.presence.went(connection)
        except Exception as error:
            # The route expires by itself; the messages are in the history, and `sync` finds them.
            log.warning("connection not tidied up", user_id=connection.user_id, error=repr(error))


async def _send(socket: ServerConnection, burst: Iterable[Queued]) -> None:
    """All in one write, where ``socket.send`` makes one for each. Raises ConnectionClosed."""
    async with socket.send_context():
        _put_out(socket, burst)


def _write_now(socket: ServerConnection, queue: deque[Queued]) -> bool:
    """Whether the socket took it all: never while something still waits in it."""
    if socket.protocol.state is not State.OPEN or socket.transport.get_write_buffer_size():
        return False
    _put_out(socket, queue)
    queue.clear()
    return True


def _put_out(socket: ServerConnection, burst: Iterable[Queued]) -> None:
    for item in burst:
        socket.protocol.send_text(item.frame)
    socket.transport.write(b"".join(socket.protocol.data_to_send()))


async def _until(done: Callable[[], bool], within_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not done() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)


def _select_subprotocol(
    _socket: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None
