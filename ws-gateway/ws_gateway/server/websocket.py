"""The WebSocket server: one task for each connection lets it in, reads, and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from websockets.http11 import Request

from im_common.runtime.faults import report
from im_common.runtime.http_limits import Guests, affordable
from ws_gateway.logic.connection import GOING_AWAY, Connection, going_away
from ws_gateway.logic.outbox import FINISH_TIMEOUT_S
from ws_gateway.server.entrance import Entrance, Newcomer
from ws_gateway.server.handshake import SUBPROTOCOL, Applicant, Refusal, check
from ws_gateway.server.pings import Pings
from ws_gateway.server.reading import Reading
from ws_gateway.server.socket import (
    CLOSE_TIMEOUT_S,
    MOST_NEWCOMERS,
    READ_BYTES,
    Closed,
    Socket,
)
from ws_gateway.svc import ServiceContext

# For so long what a connection was not sent is tried to be put into the list; its route is renewed
# meanwhile.
LIST_AGAIN_S = 0.5
LIST_WITHIN_S = 30.0
# When the process ends its connections do so at that rate, or quicker, a few each time.
LEAVING_A_SECOND = 1000
LEAVE_WITHIN_S = 4.0
LEAVE_EVERY_S = 0.1
# Connections that may wait to be accepted.
BACKLOG = 1024


class WebSocketServer:
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._entrance = Entrance(svc)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens. Raises OSError when the port is taken."""
        newcomers = Guests(affordable(4 * MOST_NEWCOMERS) // 4, 0)
        pings = Pings()
        conf = self._svc.settings.web_socket
        host, _, port = conf.listen_on.rpartition(":")
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Socket(self._serve, _select_subprotocol, self._buffer, pings, newcomers),
            host,
            int(port),
            backlog=BACKLOG,
            ssl=conf.tls(),
        )

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, within_s: float) -> None:
        """Refuses newcomers, lets what is in hand be answered, sends everybody elsewhere."""
        self._svc.is_leaving = True
        await _until(lambda: not len(self._svc.in_flight), within_s)
        await self._send_away()
        await _until(lambda: not len(self._svc.connections), within_s)
        if self._server is not None:
            self._server.close()

    async def _send_away(self) -> None:
        """A few at a time, each with a wait of its own: the gateways that they come to next greet only
        so many a second."""
        leaving = self._svc.connections.all()
        spread_s = min(LEAVE_WITHIN_S, len(leaving) / LEAVING_A_SECOND)
        at_once = max(1, int(len(leaving) * LEAVE_EVERY_S / max(spread_s, LEAVE_EVERY_S)))
        for start in range(0, len(leaving), at_once):
            if start:
                await asyncio.sleep(LEAVE_EVERY_S)
            for connection in leaving[start : start + at_once]:
                connection.end(GOING_AWAY, going_away(len(leaving)))

    async def _serve(self, socket: Socket, request: Request) -> None:
        try:
            if (connection := await self._let_in(socket, request)) is not None:
                await self._serve_one(socket, connection)
        except Exception as error:
            report(error, "connection failed")
            socket.abort()

    async def _let_in(self, socket: Socket, request: Request) -> Connection | None:
        """Its connection, which has its `hello`, or was told to end; None for one who was refused, or
        has gone."""
        decision: Connection | Applicant | Refusal | None
        try:
            decision = await check(self._svc, request, socket.address)
            if isinstance(decision, Applicant):
                decision = await self._entrance.let_in(Newcomer(socket, request, decision))
        except Exception as error:
            report(error, "handshake failed")
            decision = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        if isinstance(decision, Refusal):
            _refuse(socket, request, decision)
            return None
        return decision

    async def _serve_one(self, socket: Socket, connection: Connection) -> None:
        try:
            if connection.opened_at is not None:
                await Reading(self._svc, socket, connection).run()
        except Closed:
            pass
        except Exception as error:
            _end_failed(connection, error)
        finally:
            await self._close(socket, connection)

    async def _close(self, socket: Socket, connection: Connection) -> None:
        svc = self._svc
        if connection.ending is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_TIMEOUT_S + CLOSE_TIMEOUT_S + 1):
                    await socket.ended()
        await connection.close()
        await self._list_unsent(connection)
        svc.connections.remove(connection)
        svc.rosters.forget(connection)
        try:
            await svc.routes.remove(connection.user_id, connection.route)
            if read_until := connection.read_until():
                device_id = connection.route.device_id
                await svc.recalls.heard(connection.user_id, device_id, read_until)
            svc.presence.went(connection)
        except Exception as error:
            # The route expires by itself.
            report(error, "connection not tidied up", user_id=connection.user_id)

    async def _list_unsent(self, connection: Connection) -> None:
        """What it was not sent goes into the list of its user, who is here until it is there: what
        comes later is put behind it. Not while another connection of the user has all that comes."""
        svc, user_id = self._svc, connection.user_id
        until = asyncio.get_running_loop().time() + LIST_WITHIN_S
        while (unsent := connection.unsent_messages()) and not self._has_heir(connection):
            try:
                await svc.offline.append([(user_id, unsent)])
            except Exception as error:
                report(error, "what was not sent is not in the list", user_id=user_id)
                if asyncio.get_running_loop().time() > until:
                    # The messages are in the history, and `sync` finds them.
                    return
                await asyncio.sleep(LIST_AGAIN_S)
            else:
                for one in svc.connections.of(user_id):
                    one.forget_unsent(unsent)

    def _has_heir(self, connection: Connection) -> bool:
        """Whether what it was not sent is for another one; of those that have gone, the oldest."""
        of_user = self._svc.connections.of(connection.user_id)
        older = of_user[: of_user.index(connection)]
        return bool(older) or not all(other.has_gone for other in of_user)


def _end_failed(connection: Connection, error: Exception) -> None:
    report(error, "connection failed", user_id=connection.user_id)
    connection.end(GOING_AWAY, "try again elsewhere")


async def _until(done: Callable[[], bool], within_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not done() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)


def _refuse(socket: Socket, request: Request, refusal: Refusal) -> None:
    if refusal.close_code is None:
        socket.refuse(refusal.status, refusal.text + "\n", _retry_after(refusal))
    elif socket.accept(request):
        socket.close(refusal.close_code, refusal.text)


def _retry_after(refusal: Refusal) -> dict[str, str]:
    is_passing = refusal.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return {"Retry-After": "2"} if is_passing else {}


def _select_subprotocol(_protocol: Any, offered: Sequence[str]) -> str | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
