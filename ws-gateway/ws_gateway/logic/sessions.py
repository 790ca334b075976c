"""Connections end with their sessions, and keep them in use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from im.auth.v1.auth_pb2 import SeenSession, SeeSessionsRequest
from im_common.domain.access_tokens import LiveSessions
from im_common.domain.ended_sessions import Ended, EndedSessions
from ws_gateway.logic.connection import Connection, Connections

if TYPE_CHECKING:
    from im.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub

# A session that is about to end is asked for for so long: who said so may take a while, and a handshake
# that found it alive may be on its way.
WATCH_S = 10.0


class Sessions:
    """Of all that are connected. Kicks the connections whose session is over.

    It is told which sessions end; who says so and ends nothing harms nobody. All the others are asked
    for from time to time, as somebody may have ended one in another way. When Redis is away nothing is
    known: connections stay, and no new one gets in.
    """

    def __init__(
        self,
        ended: EndedSessions,
        alive: LiveSessions,
        connections: Connections,
        auth: AuthServiceAsyncStub,
    ) -> None:
        self._ended = ended
        self._alive = alive
        self._connections = connections
        self._auth = auth
        # Which were used to connect since auth-service was told, and where from.
        self._seen: dict[str, str] = {}
        # Session -> time.monotonic() seconds until which it is asked for.
        self._watched: dict[Ended, float] = {}

    async def look(self) -> None:
        """Of those that were told of in the last seconds. Two round trips at most."""
        now = time.monotonic()
        for told in await self._ended.read():
            self._watched[told] = now + WATCH_S
        self._watched = {told: until for told, until in self._watched.items() if until > now}
        await self._kick(
            [
                connection
                for told in self._watched
                for connection in self._connections.of(told.user_id)
                if connection.identity.session_id == told.session_id
            ]
        )

    async def look_at_all(self) -> None:
        """Of all connections."""
        await self._kick(self._connections.all())

    def seen(self, session_id: str, address: str) -> None:
        """It was used to connect, from ``address`` (empty when that is not known)."""
        self._seen[session_id] = address

    async def tell_seen(self) -> None:
        """Tells auth-service, of many at once. A courtesy: what it cannot be told is forgotten."""
        seen, self._seen = self._seen, {}
        if seen:
            sessions = [SeenSession(session_id=one, address=seen[one]) for one in seen]
            await self._auth.SeeSessions(SeeSessionsRequest(sessions=sessions))

    async def _kick(self, connections: list[Connection]) -> None:
        sessions = list({connection.identity.session_id for connection in connections})
        if not sessions:
            return
        over = await self._alive.over(sessions)
        for connection in connections:
            if connection.identity.session_id in over:
                connection.kick("the session has ended")
