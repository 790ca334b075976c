"""The gRPC face of auth-service."""

from __future__ import annotations

from auth_service import svc
from auth_service.config import Settings
from auth_service.logic import deletion
from auth_service.server.auth import AuthServicer
from im.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from im_common.rpc.access import Gatekeeper
from im_common.rpc.server import RpcServer
from im_common.runtime import process
from im_common.runtime.resources import Resources


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)
    server = RpcServer(
        listen_on=settings.listen_on,
        services=["im.auth.v1.AuthService"],
        register=lambda s: add_AuthServiceServicer_to_server(AuthServicer(service), s),
        gatekeeper=Gatekeeper(service.access_tokens, resources.service_tokens),
        timeout_ms=settings.timeout,
    )
    resources.keep(deletion.run(service), "deletions")
    await process.serve(settings, resources, rpc=server)
