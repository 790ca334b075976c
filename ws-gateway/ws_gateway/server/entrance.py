"""How newcomers get in: those who come together by one question each of Redis and of chat-service."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from redis.exceptions import RedisError
from websockets.http11 import Request

from im_common.domain import frames
from im_common.domain.ids import now_ms
from im_common.domain.routes import Route
from im_common.errors import AppError
from im_common.runtime.context import Identity
from im_common.runtime.faults import as_unavailable, report
from im_common.runtime.gathering import Gathered
from ws_gateway.logic import upkeep
from ws_gateway.logic.backlog import look_at_all
from ws_gateway.logic.connection import GOING_AWAY, Connection
from ws_gateway.server.handshake import Admission, Applicant, Refusal, admit
from ws_gateway.server.socket import Socket
from ws_gateway.svc import ServiceContext

# Who goes in together.
MOST_TOGETHER = 500


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Whose handshake is in order, as far as that can be seen without a question."""

    socket: Socket
    request: Request
    applicant: Applicant


class Entrance:
    """Who comes alone goes in at once; who comes while others are on their way goes in when these are
    through, with all who came meanwhile. A step of the way is one call for all of them, which would
    otherwise be the most of what a handshake costs.
    """

    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc
        # Random from the start, so that a restarted instance gives none that is still in a route.
        self._ids = itertools.count(secrets.randbits(48) << 8)
        self._together = Gathered(self._let_in_all, most=MOST_TOGETHER)
        self._looks: set[asyncio.Task[None]] = set()

    async def let_in(self, newcomer: Newcomer) -> Connection | Refusal | None:
        """Its connection, which has its `hello` or was told to end; None for one that has gone."""
        return await self._together(newcomer)

    async def _let_in_all(self, newcomers: Sequence[Newcomer]) -> list[Connection | Refusal | None]:
        identities = await self._identities([one.applicant.token for one in newcomers])
        upkeep.end_lapsed(self._svc, time.monotonic())
        entered: list[Connection | Refusal | None] = []
        welcome: list[tuple[Connection, Admission]] = []
        for one, identity in zip(newcomers, identities, strict=True):
            decision = self._decide(one.applicant, identity)
            if isinstance(decision, Refusal):
                entered.append(decision)
            elif one.socket.accept(one.request, with_text=True):
                connection = self._connection(decision)
                self._put(connection, one.socket)
                entered.append(connection)
                welcome.append((connection, decision))
            else:
                entered.append(None)
        if welcome:
            await self._welcome(welcome)
        return entered

    async def _identities(self, tokens: Sequence[str]) -> Sequence[Identity | AppError]:
        """Whom the tokens speak for, or why they do not."""
        try:
            return await self._svc.tokens.verify_all(tokens)
        except RedisError as error:
            away = as_unavailable(error)
            if away is None:
                raise
            return [away] * len(tokens)

    def _decide(self, applicant: Applicant, identity: Identity | AppError) -> Admission | Refusal:
        try:
            return admit(self._svc, applicant, identity)
        except Exception as error:
            report(error, "handshake failed")
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")

    def _connection(self, admission: Admission) -> Connection:
        svc = self._svc
        return Connection(
            admission.identity,
            Route(svc.in_flight.address, next(self._ids), admission.platform, admission.device_id),
            svc.stores,
            max_queue=svc.settings.web_socket.max_queue,
            address=admission.address,
            others=self._others,
        )

    def _others(self, connection: Connection) -> list[Connection]:
        return [c for c in self._svc.connections.of(connection.user_id) if c is not connection]

    def _put(self, connection: Connection, socket: Socket) -> None:
        """First into the table, then into Redis: whoever finds the route finds the connection."""
        socket.on_writable = connection.outbox.flush
        connection.begin(socket)
        for other in self._svc.connections.of(connection.user_id):
            connection.take_over(other)
        self._svc.connections.add(connection)

    async def _welcome(self, newcomers: Sequence[tuple[Connection, Admission]]) -> None:
        svc = self._svc
        connections = [connection for connection, _ in newcomers]
        try:
            found = await svc.routes.enter([(one.user_id, one.route) for one in connections])
            for (connection, admission), before in zip(newcomers, found, strict=True):
                if admission.is_named:
                    svc.replacing.replace(connection, before)
            # Before they are sent anything: who pushes to a group finds them from now on.
            await svc.rosters.learn(connections)
            for connection, admission in newcomers:
                svc.presence.came(connection)
                svc.sessions.seen(connection.identity.session_id, admission.address)
                # Only now: what the client asks for from here on (`sync`) and what is pushed leave no
                # gap between them.
                connection.open(self._hello(connection))
        except Exception as error:
            report(error, "newcomers failed")
            for connection in connections:
                connection.end(GOING_AWAY, "try again elsewhere")
        else:
            self._look(connections)

    def _hello(self, connection: Connection) -> bytes:
        return frames.encode(
            frames.Hello(
                user_id=connection.user_id,
                session_id=connection.identity.session_id,
                device_id=connection.route.device_id,
                server_time=now_ms(),
                heartbeat_ms=self._svc.settings.web_socket.heartbeat,
            )
        )

    def _look(self, connections: Iterable[Connection]) -> None:
        """For what they missed, while others go in."""
        svc = self._svc
        backlogs = [connection.backlog for connection in connections]
        look = asyncio.create_task(
            look_at_all(backlogs, svc.offline, svc.recalls), name="first-look"
        )
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
