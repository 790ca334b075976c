"""The gRPC face of friend-service."""

from __future__ import annotations

import grpc

from friend_service import svc
from friend_service.config import Settings
from friend_service.server.friend import FriendServicer
from im.common.v1.outbox_pb2_grpc import add_OutboxServiceServicer_to_server
from im.friend.v1.friend_pb2_grpc import add_FriendServiceServicer_to_server
from im_common.runtime import process
from im_common.runtime.resources import Resources
from im_common.sql import outbox_service
from im_common.sql.outbox_service import OutboxServicer


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)

    def register(server: grpc.aio.Server) -> None:
        add_FriendServiceServicer_to_server(FriendServicer(service), server)
        add_OutboxServiceServicer_to_server(OutboxServicer(service.outbox), server)

    server = resources.rpc_server(
        service.tokens,
        services=["im.friend.v1.FriendService", outbox_service.SERVICE],
        register=register,
    )
    await process.serve(settings, resources, rpc=server)
