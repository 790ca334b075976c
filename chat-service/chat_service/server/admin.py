"""RetentionService and ReportService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from chat_service.logic import history, retention
from chat_service.server import views
from chat_service.svc import ServiceContext
from im.chat.v1 import admin_pb2 as pb
from im.chat.v1.admin_pb2_grpc import ReportServiceServicer, RetentionServiceServicer


class RetentionServicer(RetentionServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def GetRetention(
        self, _request: pb.GetRetentionRequest, _: Any
    ) -> pb.GetRetentionResponse:
        return pb.GetRetentionResponse(retention_days=self._svc.settings.retention_days)

    async def ExpireMessages(
        self, request: pb.ExpireMessagesRequest, _: Any
    ) -> pb.ExpireMessagesResponse:
        removed, next_cursor = await retention.expire_page(
            self._svc.db, before_ms=request.before, cursor=request.cursor
        )
        return pb.ExpireMessagesResponse(removed=removed, next_cursor=next_cursor)


class ReportServicer(ReportServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def ReadConversation(
        self, request: pb.ReadConversationRequest, _: Any
    ) -> pb.ReadConversationResponse:
        rows, has_more = await history.read_reported(
            self._svc, request.conversation_id, request.before_seq, request.limit
        )
        shown = views.messages(rows, history.NOBODY)
        return pb.ReadConversationResponse(messages=shown, has_more=has_more)
