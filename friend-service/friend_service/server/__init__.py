"""The gRPC face of friend-service."""

from __future__ import annotations

from friend_service import svc
from friend_service.config import Settings
from friend_service.server.friend import FriendServicer
from im.friend.v1.friend_pb2_grpc import add_FriendServiceServicer_to_server
from im_common.rpc.access import Gatekeeper
from im_common.rpc.server import RpcServer
from im_common.runtime import process
from im_common.runtime.resources import Resources


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)
    servicer = FriendServicer(service)
    server = RpcServer(
        listen_on=settings.listen_on,
        services=["im.friend.v1.FriendService"],
        register=lambda s: add_FriendServiceServicer_to_server(servicer, s),
        gatekeeper=Gatekeeper(service.tokens, resources.service_tokens),
        timeout_ms=settings.timeout,
        tls=resources.peer_tls(),
    )
    await process.serve(settings, resources, rpc=server)
