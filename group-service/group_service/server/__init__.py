"""The gRPC face of group-service."""

from __future__ import annotations

from group_service import svc
from group_service.config import Settings
from group_service.server.group import GroupServicer
from im.group.v1.group_pb2_grpc import add_GroupServiceServicer_to_server
from im_common.rpc.access import Gatekeeper
from im_common.rpc.server import RpcServer
from im_common.runtime import process
from im_common.runtime.resources import Resources


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)
    servicer = GroupServicer(service)
    server = RpcServer(
        listen_on=settings.listen_on,
        services=["im.group.v1.GroupService"],
        register=lambda s: add_GroupServiceServicer_to_server(servicer, s),
        gatekeeper=Gatekeeper(service.tokens, resources.service_tokens),
        timeout_ms=settings.timeout,
        tls=resources.peer_tls(),
    )
    await process.serve(settings, resources, rpc=server)
