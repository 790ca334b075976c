"""The gRPC face of chat-service."""

from __future__ import annotations

import grpc

from chat_service import svc
from chat_service.config import Settings
from chat_service.server.chat import ChatServicer
from chat_service.server.push import AnswerServicer
from im.chat.v1.chat_pb2_grpc import add_ChatServiceServicer_to_server
from im.gateway.v1.push_pb2_grpc import add_PushServiceServicer_to_server
from im_common.rpc.access import Gatekeeper
from im_common.rpc.server import RpcServer
from im_common.runtime.process import registered
from im_common.runtime.resources import Resources


async def serve(settings: Settings, resources: Resources) -> None:
    context = await svc.build(settings, resources)

    chat = ChatServicer(context)
    # It pushes nothing to anybody: the rest answers UNIMPLEMENTED, from the generated base class.
    answers = AnswerServicer(context.waiting)  # type: ignore[abstract]

    def register(server: grpc.aio.Server) -> None:
        add_ChatServiceServicer_to_server(chat, server)
        add_PushServiceServicer_to_server(answers, server)

    server = RpcServer(
        listen_on=settings.listen_on,
        services=["im.chat.v1.ChatService", "im.gateway.v1.PushService"],
        register=register,
        gatekeeper=Gatekeeper(context.tokens, resources.service_tokens),
        timeout_ms=settings.timeout,
    )
    async with registered(settings, resources, server) as address:
        context.waiting.address = address
        await resources.ending.wait()
