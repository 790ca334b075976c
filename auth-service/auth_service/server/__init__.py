"""The gRPC face of auth-service."""

from __future__ import annotations

import grpc

from auth_service import svc
from auth_service.config import Settings
from auth_service.logic import deletion
from auth_service.server.admin import (
    AccountAdminServicer,
    AdminSessionServicer,
    AuditServicer,
    KeyAdminServicer,
)
from auth_service.server.auth import AuthServicer
from im.auth.v1.admin_pb2_grpc import (
    add_AccountAdminServiceServicer_to_server,
    add_AdminSessionServiceServicer_to_server,
    add_AuditServiceServicer_to_server,
    add_KeyAdminServiceServicer_to_server,
)
from im.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from im.common.v1.outbox_pb2_grpc import add_OutboxServiceServicer_to_server
from im_common.runtime import process
from im_common.runtime.resources import Resources
from im_common.sql import outbox_service
from im_common.sql.outbox_service import OutboxServicer


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)

    def register(server: grpc.aio.Server) -> None:
        add_AuthServiceServicer_to_server(AuthServicer(service), server)
        add_AccountAdminServiceServicer_to_server(AccountAdminServicer(service), server)
        add_AdminSessionServiceServicer_to_server(AdminSessionServicer(service), server)
        add_KeyAdminServiceServicer_to_server(KeyAdminServicer(service), server)
        add_AuditServiceServicer_to_server(AuditServicer(service), server)
        add_OutboxServiceServicer_to_server(OutboxServicer(service.outbox), server)

    server = resources.rpc_server(
        service.access_tokens,
        services=[
            "im.auth.v1.AuthService",
            "im.auth.v1.AccountAdminService",
            "im.auth.v1.AdminSessionService",
            "im.auth.v1.KeyAdminService",
            "im.auth.v1.AuditService",
            outbox_service.SERVICE,
        ],
        register=register,
    )
    resources.keep(deletion.run(service), "deletions")
    await process.serve(settings, resources, rpc=server)
