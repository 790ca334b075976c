"""The gRPC face of user-service."""

from __future__ import annotations

import grpc

from im.common.v1.outbox_pb2_grpc import add_OutboxServiceServicer_to_server
from im.user.v1.user_pb2_grpc import (
    add_PresenceServiceServicer_to_server,
    add_UserServiceServicer_to_server,
)
from im_common.runtime import process
from im_common.runtime.resources import Resources
from im_common.sql import outbox_service
from im_common.sql.outbox_service import OutboxServicer
from user_service import svc
from user_service.config import Settings
from user_service.server.presence import PresenceServicer
from user_service.server.user import UserServicer


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)

    def register(server: grpc.aio.Server) -> None:
        add_UserServiceServicer_to_server(UserServicer(service), server)
        add_PresenceServiceServicer_to_server(PresenceServicer(service), server)
        add_OutboxServiceServicer_to_server(OutboxServicer(service.outbox), server)

    server = resources.rpc_server(
        service.tokens,
        services=[
            "im.user.v1.UserService",
            "im.user.v1.PresenceService",
            outbox_service.SERVICE,
        ],
        register=register,
    )
    await process.serve(settings, resources, rpc=server)
