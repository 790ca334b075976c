"""The gRPC face of chat-service."""

from __future__ import annotations

import grpc

from chat_service import svc
from chat_service.config import Settings
from chat_service.server.admin import ReportServicer, RetentionServicer
from chat_service.server.chat import ChatServicer
from chat_service.server.files import FileServicer
from im.chat.v1.admin_pb2_grpc import (
    add_ReportServiceServicer_to_server,
    add_RetentionServiceServicer_to_server,
)
from im.chat.v1.chat_pb2_grpc import add_ChatServiceServicer_to_server
from im.chat.v1.file_pb2_grpc import add_FileServiceServicer_to_server
from im.gateway.v1.outcome_pb2_grpc import add_OutcomeServiceServicer_to_server
from im_common.domain import outcomes
from im_common.runtime import process
from im_common.runtime.resources import Resources


async def serve(settings: Settings, resources: Resources) -> None:
    service = await svc.build(settings, resources)

    chat, files = ChatServicer(service), FileServicer(service)
    kept, reports = RetentionServicer(service), ReportServicer(service)
    told = outcomes.OutcomeServicer(service.in_flight)

    def register(server: grpc.aio.Server) -> None:
        add_ChatServiceServicer_to_server(chat, server)
        add_FileServiceServicer_to_server(files, server)
        add_RetentionServiceServicer_to_server(kept, server)
        add_ReportServiceServicer_to_server(reports, server)
        add_OutcomeServiceServicer_to_server(told, server)

    server = resources.rpc_server(
        service.tokens,
        services=[
            "im.chat.v1.ChatService",
            "im.chat.v1.FileService",
            "im.chat.v1.RetentionService",
            "im.chat.v1.ReportService",
            outcomes.SERVICE,
        ],
        register=register,
    )

    async def begin(address: str) -> None:
        service.in_flight.address = address

    await process.serve(settings, resources, rpc=server, begin=begin)
