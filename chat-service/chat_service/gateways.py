"""Pushing to gateways, of which any may be gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from im.gateway.v1.push_pb2 import PushRequest
from im.gateway.v1.push_pb2_grpc import PushServiceStub
from im_common.errors import AppError
from im_common.rpc.client import AddressChannels

log = structlog.get_logger(__name__)

# A gateway that did not answer is not asked again for this long; its users count as away.
AVOID_S = 3.0


class Gateways:
    """One `Push` to each of many gateways."""

    def __init__(self, channels: AddressChannels) -> None:
        self._channels = channels
        self._avoided: dict[str, float] = {}

    async def push(self, requests: Mapping[str, PushRequest]) -> dict[str, set[int] | None]:
        """For each gateway: the users who were not there, or None when it did not answer."""
        absent = await asyncio.gather(*(self._push_one(a, r) for a, r in requests.items()))
        return dict(zip(requests, absent, strict=True))

    async def _push_one(self, address: str, request: PushRequest) -> set[int] | None:
        if self._avoided.get(address, 0.0) > time.monotonic():
            return None
        try:
            answer = await PushServiceStub(self._channels.get(address)).Push(request)
        except AppError as error:
            log.warning("a gateway does not answer", gateway=address, error=error.message)
            self._avoided[address] = time.monotonic() + AVOID_S
            return None
        self._avoided.pop(address, None)
        return set(answer.absent_user_ids)
