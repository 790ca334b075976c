"""PushService as far as chat-service needs it: the answers to messages it sent on."""

from __future__ import annotations

from typing import Any

from chat_service.logic.waiting import Waiting
from im.gateway.v1 import push_pb2 as pb
from im.gateway.v1.push_pb2_grpc import PushServiceServicer


class AnswerServicer(PushServiceServicer):
    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    async def Push(self, request: pb.PushRequest, _: Any) -> pb.PushResponse:
        for answer in request.answers:
            self._waiting.in_flight.settle(answer.token, answer.frame)
        # No user is connected here.
        absent = {user_id for delivery in request.deliveries for user_id in delivery.user_ids}
        return pb.PushResponse(absent_user_ids=sorted(absent))
