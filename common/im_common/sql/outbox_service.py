"""The face of an outbox for operators, of each service that has one."""

from __future__ import annotations

from typing import Any

from im.common.v1 import outbox_pb2 as pb
from im.common.v1.outbox_pb2_grpc import OutboxServiceServicer
from im_common.sql.outbox import Outbox

SERVICE = "im.common.v1.OutboxService"


class OutboxServicer(OutboxServiceServicer):
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def GetBacklog(self, _request: pb.GetBacklogRequest, _: Any) -> pb.GetBacklogResponse:
        backlog = await self._outbox.backlog()
        return pb.GetBacklogResponse(records=backlog.records, oldest_at=backlog.oldest_at or 0)
