"""Pushing to gateways, of which any may be gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from im.gateway.v1.push_pb2 import PushRequest, PushResponse
from im.gateway.v1.push_pb2_grpc import PushServiceStub
from im_common.errors import AppError
from im_common.ids import now_ms
from im_common.rpc.client import AddressChannels

if TYPE_CHECKING:
    from im.gateway.v1.push_pb2_grpc import PushServiceAsyncStub

log = structlog.get_logger(__name__)

PUSH_TIMEOUT_S = 1.0
# A call that fails so much later than its time limit says nothing of the gateway: this process stood
# still (it was frozen, or the machine was), and the answer may be waiting here.
STOOD_STILL_S = 0.5
# A gateway that did not answer is not asked again for this long; its users count as away.
AVOID_MS = 3000


class Gateways:
    """One `Push` to each of many gateways."""

    def __init__(self, channels: AddressChannels) -> None:
        self._channels = channels
        # Address -> Unix milliseconds at which it did not answer.
        self._avoided: dict[str, int] = {}

    def seen_alive(self, address: str, at_ms: int) -> None:
        """It did something at that time (Unix ms): if that is since it did not answer, it is back."""
        if self._avoided.get(address, at_ms) < at_ms:
            del self._avoided[address]

    async def push(self, requests: Mapping[str, PushRequest]) -> dict[str, set[int] | None]:
        """For each gateway: the users who were not there, or None when it did not answer."""
        absent = await asyncio.gather(*(self._push_one(a, r) for a, r in requests.items()))
        return dict(zip(requests, absent, strict=True))

    async def _push_one(self, address: str, request: PushRequest) -> set[int] | None:
        if self._avoided.get(address, 0) > now_ms() - AVOID_MS:
            return None
        began = time.monotonic()
        try:
            answer = await self._call(address, request)
        except AppError as error:
            if time.monotonic() - began < PUSH_TIMEOUT_S + STOOD_STILL_S:
                self._avoid(address, error)
                return None
            try:
                # What it has had already, it drops.
                answer = await self._call(address, request)
            except AppError as again:
                self._avoid(address, again)
                return None
        self._avoided.pop(address, None)
        return set(answer.absent_user_ids)

    async def _call(self, address: str, request: PushRequest) -> PushResponse:
        stub: PushServiceAsyncStub = PushServiceStub(self._channels.get(address))
        # It may just have come back: then the connection to it is a moment away.
        return await stub.Push(request, timeout=PUSH_TIMEOUT_S, wait_for_ready=True)

    def _avoid(self, address: str, error: AppError) -> None:
        log.warning("a gateway does not answer", gateway=address, error=error.message)
        self._avoided[address] = now_ms()
