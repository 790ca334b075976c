"""The gRPC face of group-service."""

from __future__ import annotations

import grpc

from group_service import svc
from group_service.config import Settings
from group_service.server.admin import GroupAdminServicer
from group_service.server.group import GroupServicer
from im.common.v1.outbox_pb2_grpc import add_OutboxServiceServicer_to_server
from im.group.v1.admin_pb2_grpc import add_GroupAdminServiceServicer_to_server
from im.group.v1.group_pb2_grpc import add_GroupServiceServicer_to_server
from im_common.runtime import process
from im_common.runtime.resources import Resources
from im_common.sql import outbox_service
from im_common.sql.outbox_service import OutboxServicer


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)

    def register(server: grpc.aio.Server) -> None:
        add_GroupServiceServicer_to_server(GroupServicer(service), server)
        add_GroupAdminServiceServicer_to_server(GroupAdminServicer(service), server)
        add_OutboxServiceServicer_to_server(OutboxServicer(service.outbox), server)

    server = resources.rpc_server(
        service.tokens,
        services=[
            "im.group.v1.GroupService",
            "im.group.v1.GroupAdminService",
            outbox_service.SERVICE,
        ],
        register=register,
    )
    await process.serve(settings, resources, rpc=server)
