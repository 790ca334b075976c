"""OutcomeService, for every process that puts records on the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from im.gateway.v1 import outcome_pb2 as pb
from im.gateway.v1.outcome_pb2_grpc import OutcomeServiceServicer
from im_common.domain.in_flight import InFlight

SERVICE = "im.gateway.v1.OutcomeService"


class OutcomeServicer(OutcomeServiceServicer):
    def __init__(self, in_flight: InFlight, behind_ms: Callable[[], int] = lambda: 0) -> None:
        """``behind_ms``: how long work waits for its turn in this process."""
        self._in_flight = in_flight
        self._behind_ms = behind_ms

    async def Settle(self, request: pb.SettleRequest, _: Any) -> pb.SettleResponse:
        self._in_flight.settle_all(request.answers)
        return pb.SettleResponse(behind_ms=self._behind_ms())
