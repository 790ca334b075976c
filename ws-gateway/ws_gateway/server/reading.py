"""What comes from a client, and whose turn it is: a connection's own frames one after the other, those
of all by turns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from im_common.domain.ids import now_ms
from im_common.runtime.rate import Bucket
from ws_gateway.logic.connection import Connection
from ws_gateway.logic.inbound import Inbound
from ws_gateway.server.socket import Socket
from ws_gateway.svc import ServiceContext

# Frames of one connection that are worked on before others have their turn. While messages are
# refused, which takes little time, one connection has a turn in each turn of the event loop, so that
# answers pass quickly; and it is read only so often, as what comes together costs much less. Who sends
# more than a few meanwhile is read on at once: else frames would wait unread, longer and longer.
FRAMES_A_TURN = 16
REFUSED_A_TURN = 128
REFUSED_REST_S = 0.5
REFUSED_FEW = 64
# A connection that has sent more than was taken for so long has messages that wait unread, longer and
# longer: they are refused until there is nothing more in its socket. Else nobody would, where it is
# this process that can do no more, and not what is behind it.
LATE_S = 1.0


class Reading:
    """Of one connection, until it ends."""

    __slots__ = ("_connection", "_failed", "_inbound", "_producing", "_socket", "_svc")

    def __init__(self, svc: ServiceContext, socket: Socket, connection: Connection) -> None:
        self._svc = svc
        self._socket = socket
        self._connection = connection
        self._inbound: Inbound
        # What is to be awaited before the next frame.
        self._producing: Coroutine[Any, Any, None] | None = None
        self._failed: Exception | None = None

    async def run(self) -> None:
        """Raises Closed when the client has gone; ends when the connection does."""
        svc, socket, connection = self._svc, self._socket, self._connection
        # Nearly all connections rest, and say nothing at first.
        await socket.readable()
        self._inbound = Inbound(
            connection, svc.in_flight, svc.producer, relay=svc.relay, rate=self._rate()
        )
        socket.on_text = self._take_at_once
        while True:
            await socket.readable()
            if self._failed is not None:
                raise self._failed
            is_late = self._inbound.is_late = socket.late_s > LATE_S
            if is_late or not svc.in_flight.has_room:
                await svc.turns.take()
            takes_all = svc.in_flight.has_room and not is_late
            taken = await self._take(FRAMES_A_TURN if takes_all else REFUSED_A_TURN)
            if connection.ending is not None:
                return
            if not svc.in_flight.has_room:
                if not socket.has_waiting and taken < REFUSED_FEW:
                    await socket.rest(REFUSED_REST_S)
            elif socket.has_waiting:
                await asyncio.sleep(0)

    async def _take(self, most: int) -> int:
        """How many it has worked on."""
        socket, connection = self._socket, self._connection
        connection.heard_at = now_ms()
        taken = 0
        while True:
            if self._producing is not None:
                producing, self._producing = self._producing, None
                await producing
            if taken == most or not socket.has_waiting or connection.ending is not None:
                return taken
            self._producing = self._inbound.handle(socket.take())
            taken += 1

    def _take_at_once(self) -> bool:
        """Where it was read; whether that was all there was to do."""
        socket, connection, in_flight = self._socket, self._connection, self._svc.in_flight
        if not in_flight.has_room or socket.late_s > LATE_S:
            return False
        self._inbound.is_late = False
        connection.heard_at = now_ms()
        try:
            for _ in range(FRAMES_A_TURN):
                if connection.ending is not None:
                    return False
                if not socket.has_waiting:
                    return in_flight.has_room
                self._producing = self._inbound.handle(socket.take())
                if self._producing is not None:
                    return False
        except Exception as error:
            self._failed = error
        return False

    def _rate(self) -> Bucket | None:
        conf = self._svc.settings.web_socket
        if self._svc.settings.rate_limits == "off":
            return None
        return Bucket(conf.messages_per_second, conf.message_burst)
