"""A device that connects again takes the place of its own older connection, wherever that is.

The older one may be dead without anybody knowing: until its pings say so it would take what its device
is sent. Which device it is a client says by the `device_id` of its handshake; who names none is none
that was here before.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

from im.gateway.v1.push_pb2 import ReplacedConnection, ReplaceRequest
from im.gateway.v1.push_pb2_grpc import PushServiceStub
from im_common.domain.routes import Route
from im_common.errors import AppError
from im_common.rpc.client import AddressChannels
from ws_gateway.logic.connection import Connection, Connections

if TYPE_CHECKING:
    from im.gateway.v1.push_pb2_grpc import PushServiceAsyncStub

log = structlog.get_logger(__name__)

REASON = "this device has connected again"
# A gateway that does not answer by then is late, or gone. Its pings find a dead connection, too.
CALL_TIMEOUT_S = 2.0


class Replacing:
    """Tells other gateways in the background, many at once."""

    def __init__(self, connections: Connections, channels: AddressChannels) -> None:
        self._connections = connections
        self._channels = channels
        # By gateway (host:port of its PushService).
        self._due: defaultdict[str, list[ReplacedConnection]] = defaultdict(list)
        self._is_due = asyncio.Event()

    def replace(self, newer: Connection, before: Iterable[Route]) -> None:
        """Ends those of the connections ``before`` that are of the same device, here and elsewhere."""
        user_id, route = newer.user_id, newer.route
        for other in list(self._connections.of(user_id)):
            # By their order here, not by what Redis found: that may have been emptied.
            is_older = other.id < newer.id
            if is_older and other.route.device_id == route.device_id:
                other.kick(REASON)
        for old in before:
            if old.device_id == route.device_id and old.gateway != route.gateway:
                replaced = ReplacedConnection(user_id=user_id, connection_id=old.connection_id)
                self._due[old.gateway].append(replaced)
                self._is_due.set()

    def end(self, replaced: Iterable[ReplacedConnection]) -> int:
        """Ends these; how many there were."""
        gone = [
            connection
            for one in replaced
            for connection in self._connections.of(one.user_id)
            if connection.id == one.connection_id
        ]
        for connection in gone:
            connection.kick(REASON)
        return len(gone)

    async def run(self) -> None:
        """Tells the others, for ever."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            due, self._due = self._due, defaultdict(list)
            await self._tell(due)

    async def _tell(self, due: Mapping[str, list[ReplacedConnection]]) -> None:
        await asyncio.gather(*(self._tell_one(address, some) for address, some in due.items()))

    async def _tell_one(self, address: str, replaced: list[ReplacedConnection]) -> None:
        push: PushServiceAsyncStub = PushServiceStub(self._channels.get(address))
        try:
            await push.Replace(ReplaceRequest(connections=replaced), timeout=CALL_TIMEOUT_S)
        except AppError as error:
            log.info(
                "older connections not ended",
                gateway=address,
                connections=len(replaced),
                error=error.message,
            )
