"""PushService: frames from the consumer to the connections of this instance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from im.gateway.v1 import push_pb2 as pb
from im.gateway.v1.push_pb2_grpc import PushServiceServicer
from im_common.runtime import tracing
from im_common.runtime.context import is_recorded
from ws_gateway.logic import upkeep
from ws_gateway.svc import ServiceContext


class PushServicer(PushServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def Push(self, request: pb.PushRequest, _: Any) -> pb.PushResponse:
        spans = []
        if (maker := tracing.maker) is not None:
            traced = (d.traceparent for d in request.deliveries if is_recorded(d.traceparent))
            spans = [maker.begin("hand over", "consumer", parent) for parent in traced]
        try:
            return await self._push(request)
        finally:
            for span in spans:
                span.end()

    async def PushStream(self, request: pb.PushRequest, call: Any) -> pb.PushResponse:  # type: ignore[override]
        """Answers one request of the stream (``im_common.rpc.streams``)."""
        return await self.Push(request, call)

    async def _push(self, request: pb.PushRequest) -> pb.PushResponse:
        svc = self._svc
        if not request.only_if_here:
            svc.in_flight.settle_all(request.answers)
        # Before what is newer: a connection that missed something gets no more.
        upkeep.end_lapsed(svc, time.monotonic())
        await svc.missing.look_if_late()
        svc.missing.end([*request.missed_user_ids, *request.missed_conversation_ids])
        if request.only_if_here:
            if gone := self._gone(request.deliveries):
                return pb.PushResponse(absent_user_ids=gone, behind_ms=svc.turns.behind_ms)
            svc.in_flight.settle_all(request.answers)
        for user_id in request.listed_user_ids:
            for connection in svc.connections.of(user_id):
                connection.backlog.look()
        svc.rosters.catch_up(request.rosters)
        of_groups = [delivery for delivery in request.deliveries if delivery.HasField("group")]
        if behind := svc.rosters.behind(of_groups):
            return pb.PushResponse(behind=behind, behind_ms=svc.turns.behind_ms)
        absent: set[int] = set()
        for delivery, *more in _runs(request.deliveries) if of_groups else zip(request.deliveries):
            if more:
                svc.rosters.deliver_all([delivery, *more])
            elif of_groups and delivery.HasField("group"):
                svc.rosters.deliver(delivery)
            elif delivery.receipt_user_id:
                svc.receipts.take(delivery)
            else:
                absent.update(svc.connections.hand_over(delivery))
        # Before the answer: what comes next for a group finds this gateway.
        await svc.rosters.register()
        return pb.PushResponse(
            absent_user_ids=sorted(absent),
            behind_ms=svc.turns.behind_ms,
            held=svc.rosters.held(request.rosters),
        )

    def _gone(self, deliveries: Iterable[pb.Delivery]) -> list[int]:
        users = {user_id for delivery in deliveries for user_id in delivery.user_ids}
        return sorted(user_id for user_id in users if not self._svc.connections.of(user_id))

    async def Kick(self, request: pb.KickRequest, _: Any) -> pb.KickResponse:
        sessions = set(request.session_ids)
        closed = [
            connection
            for connection in self._svc.connections.of(request.user_id)
            if not sessions or connection.identity.session_id in sessions
        ]
        for connection in closed:
            connection.kick(request.reason or "kicked")
        return pb.KickResponse(closed=len(closed))

    async def Replace(self, request: pb.ReplaceRequest, _: Any) -> pb.ReplaceResponse:
        return pb.ReplaceResponse(closed=self._svc.replacing.end(request.connections))


def _runs(deliveries: Iterable[pb.Delivery]) -> Iterator[list[pb.Delivery]]:
    """In order; together are messages of one group that follow each other and change no members."""
    run: list[pb.Delivery] = []
    for delivery in deliveries:
        if run and not (_is_plain(delivery) and _follows(run[-1], delivery)):
            yield run
            run = []
        run.append(delivery)
        if not _is_plain(delivery):
            yield run
            run = []
    if run:
        yield run


def _is_plain(delivery: pb.Delivery) -> bool:
    is_message = delivery.HasField("group") and delivery.seq > 0 and not delivery.ephemeral
    return is_message and not delivery.group.is_change


def _follows(last: pb.Delivery, delivery: pb.Delivery) -> bool:
    return last.conversation_id == delivery.conversation_id and last.seq < delivery.seq
