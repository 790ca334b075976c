"""PresenceService: a line or two for each RPC."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from im.user.v1 import user_pb2 as pb
from im.user.v1.user_pb2_grpc import PresenceServiceServicer
from im_common.runtime.context import identity
from user_service.logic import presence
from user_service.model.presence import Presence
from user_service.svc import ServiceContext


class PresenceServicer(PresenceServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def UserOnline(self, request: pb.UserOnlineRequest, _: Any) -> pb.UserOnlineResponse:
        await presence.record(self._svc, _devices(request.devices))
        return pb.UserOnlineResponse()

    async def UserOffline(self, request: pb.UserOfflineRequest, _: Any) -> pb.UserOfflineResponse:
        await presence.record(self._svc, _devices(request.devices))
        return pb.UserOfflineResponse()

    async def ListHidden(self, request: pb.ListHiddenRequest, _: Any) -> pb.ListHiddenResponse:
        hidden = await presence.list_hidden(self._svc, request.user_ids)
        return pb.ListHiddenResponse(user_ids=sorted(hidden))

    async def GetOnlineUsers(
        self, request: pb.GetOnlineUsersRequest, _: Any
    ) -> pb.GetOnlineUsersResponse:
        found = await presence.get_online_users(self._svc, identity().user_id, request.user_ids)
        return pb.GetOnlineUsersResponse(presences=map(_presence, found))

    async def IsUserOnline(
        self, request: pb.IsUserOnlineRequest, _: Any
    ) -> pb.IsUserOnlineResponse:
        found = await presence.get_online_users(self._svc, identity().user_id, [request.user_id])
        return pb.IsUserOnlineResponse(presence=_presence(found[0]))


def _devices(devices: Iterable[pb.DevicePresence]) -> list[tuple[int, str]]:
    return [(device.user_id, device.platform) for device in devices]


def _presence(presence: Presence) -> pb.Presence:
    return pb.Presence(
        user_id=presence.user_id,
        online=presence.online,
        last_seen=presence.last_seen,
        platforms=presence.platforms,
    )
