"""RetentionService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from chat_service.logic import retention
from chat_service.svc import ServiceContext
from im.chat.v1 import admin_pb2 as pb
from im.chat.v1.admin_pb2_grpc import RetentionServiceServicer


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
