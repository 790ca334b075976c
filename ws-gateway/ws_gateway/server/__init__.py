"""The two faces of ws-gateway: WebSocket for clients, gRPC for pushes."""

from __future__ import annotations

from contextlib import suppress

import grpc
from redis.exceptions import RedisError

from im.gateway.v1.outcome_pb2_grpc import add_OutcomeServiceServicer_to_server
from im.gateway.v1.push_pb2_grpc import add_PushServiceServicer_to_server
from im_common.domain import outcomes
from im_common.errors import AppError
from im_common.runtime import process
from im_common.runtime.resources import Resources
from ws_gateway import svc
from ws_gateway.config import Settings
from ws_gateway.logic import upkeep
from ws_gateway.server.push import PushServicer
from ws_gateway.server.websocket import WebSocketServer

STOP_WITHIN_S = 2.0


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)
    told = outcomes.OutcomeServicer(service.in_flight, lambda: service.turns.behind_ms)

    def register(server: grpc.aio.Server) -> None:
        add_PushServiceServicer_to_server(PushServicer(service), server)
        add_OutcomeServiceServicer_to_server(told, server)

    rpc = resources.rpc_server(
        service.tokens,
        services=["im.gateway.v1.PushService", outcomes.SERVICE],
        register=register,
    )
    sockets = WebSocketServer(service)

    async def begin(address: str) -> None:
        service.in_flight.address = service.relay.address = address
        service.rosters.address = service.missing.address = address
        await sockets.start()
        with suppress(RedisError):
            await service.missing.forget()
        for name, work in upkeep.parts(service).items():
            resources.keep(work, name)

    async def drain() -> None:
        await sockets.stop(STOP_WITHIN_S)
        with suppress(AppError, RedisError):
            await service.presence.flush()
        with suppress(AppError):
            await service.relay.flush()

    await process.serve(settings, resources, rpc=rpc, begin=begin, drain=drain)
