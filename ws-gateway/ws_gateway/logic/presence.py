"""Tells who came and went, many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from im.user.v1.user_pb2 import DevicePresence, UserOfflineRequest, UserOnlineRequest
from im_common.domain.comings import Comings
from im_common.errors import AppError
from ws_gateway.logic.connection import Connection

if TYPE_CHECKING:
    from im.user.v1.user_pb2_grpc import PresenceServiceAsyncStub

MOST_WAITING = 10_000


class PresenceReporter:
    """Collects, and reports when ``flush`` is called.

    Presence is a courtesy: when user-service is away it is tried again, and what is too much is
    dropped. Who is online follows from the routes, not from this.
    """

    def __init__(self, presence: PresenceServiceAsyncStub, comings: Comings) -> None:
        self._presence = presence
        self._comings = comings
        # Whose friends may have to be told.
        self._touched: dict[int, None] = {}
        self._online: list[DevicePresence] = []
        self._offline: list[DevicePresence] = []

    def came(self, connection: Connection) -> None:
        self.touch(connection)
        self._online.append(_device(connection))

    def went(self, connection: Connection) -> None:
        self.touch(connection)
        self._offline.append(_device(connection))

    def touch(self, connection: Connection) -> None:
        """Has somebody look whether its user's friends are to be told."""
        self._touched[connection.user_id] = None

    async def flush(self) -> None:
        """Raises when Redis, or AppError when user-service is away; nothing is lost by that."""
        await self._touch()
        online, self._online = self._online[-MOST_WAITING:], []
        offline, self._offline = self._offline[-MOST_WAITING:], []
        try:
            if online:
                await self._presence.UserOnline(UserOnlineRequest(devices=online))
                online = []
            if offline:
                await self._presence.UserOffline(UserOfflineRequest(devices=offline))
                offline = []
        except AppError:
            self._online = online + self._online
            self._offline = offline + self._offline
            raise

    async def _touch(self) -> None:
        touched, self._touched = self._touched, {}
        try:
            await self._comings.touch(touched)
        except BaseException:
            self._touched = touched | self._touched
            raise


def _device(connection: Connection) -> DevicePresence:
    return DevicePresence(
        user_id=connection.user_id,
        device_id=connection.route.device_id,
        platform=connection.route.platform,
    )
