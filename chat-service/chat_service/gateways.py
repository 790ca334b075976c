"""Pushing to gateways, of which any may be late, or gone.

Late is not gone. A call is waited for as long as the gateway lives: gRPC's own pings, which its
transport answers in a thread of its own however long the event loop takes, break the connection when
the whole process stands still. Only then, or when nobody listens at the address, its users count as
away. A gateway may get the same request twice: it drops what a connection has had.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import structlog

from im.gateway.v1.outcome_pb2 import SettleRequest
from im.gateway.v1.outcome_pb2_grpc import OutcomeServiceStub
from im.gateway.v1.push_pb2 import PushRequest, PushResponse
from im.gateway.v1.push_pb2_grpc import PushServiceStub
from im_common.domain.ids import now_ms
from im_common.errors import AppError, Code
from im_common.rpc.client import AddressChannels

if TYPE_CHECKING:
    from im.gateway.v1.outcome_pb2_grpc import OutcomeServiceAsyncStub
    from im.gateway.v1.push_pb2_grpc import PushServiceAsyncStub

log = structlog.get_logger(__name__)

# One call, to a gateway that lives. Longer than any wait for a turn on its event loop.
CALL_TIMEOUT_S = 60.0
# So long a gateway is tried again after a call broke off, while somebody listens at its address. gRPC
# has waited for the answer to a ping before that (im_common.rpc.channel_options).
SILENT_S = 3.0
_PAUSE_S = 0.1
_PROBE_TIMEOUT_S = 0.5
# A gateway that was given up is tried for a moment so often; else its users count as away at once.
AVOID_MS = 1000
_TRIAL_S = 0.3
# What is of use only now waits no longer for anybody.
EPHEMERAL_TIMEOUT_S = 1.0
# A gateway that is behind is given so much of that time, at most, before the next request.
_MOST_PAUSE_MS = 500
_BEHIND_MS = 50


class Gateways:
    """One `Push` to each of many gateways."""

    def __init__(self, channels: AddressChannels) -> None:
        self._channels = channels
        # Address -> Unix milliseconds at which it was given up, though it may live.
        self._given_up: dict[str, int] = {}
        # Where nobody listened the last time.
        self._dead: set[str] = set()
        # Address -> time.monotonic() before which it gets no more requests.
        self._rests_until: dict[str, float] = {}

    def seen_alive(self, seen: Iterable[tuple[str, int]]) -> None:
        """By address when (Unix ms) it did something: if that is since it was given up, it is back."""
        if self._given_up:
            for address, at_ms in seen:
                if self._given_up.get(address, at_ms) < at_ms:
                    del self._given_up[address]

    def may_live(self, address: str) -> bool:
        """Whether one that was not reached may still have connections."""
        return address not in self._dead

    async def push(self, requests: Mapping[str, PushRequest]) -> dict[str, PushResponse | None]:
        """For each gateway its answer, or None when it is gone. Waits for those that are late."""
        if len(requests) == 1:
            # Without a task of its own.
            return {
                address: await self._push_one(address, requests[address]) for address in requests
            }
        answers = await asyncio.gather(*(self._push_one(a, r) for a, r in requests.items()))
        return dict(zip(requests, answers, strict=True))

    async def offer(self, requests: Mapping[str, PushRequest]) -> None:
        """As ``push``, of what is of use only now: tried once."""
        await asyncio.gather(*(self._offer_one(a, r) for a, r in requests.items()))

    async def _push_one(self, address: str, request: PushRequest) -> PushResponse | None:
        limit_s = CALL_TIMEOUT_S
        if address in self._given_up:
            if self._given_up[address] > now_ms() - AVOID_MS:
                return None
            limit_s = _TRIAL_S
        if (rests_s := self._rests_until.get(address, 0.0) - time.monotonic()) > 0:
            await asyncio.sleep(rests_s)
        broken_at: float | None = None
        while True:
            try:
                answer = await self._call(address, request, limit_s)
            except AppError as error:
                now = time.monotonic()
                # Its transport lives when the call lasted until our own limit.
                if error.code is not Code.DEADLINE_EXCEEDED or limit_s < CALL_TIMEOUT_S:
                    broken_at = broken_at or now
                    limit_s = broken_at + SILENT_S - now
                if address in self._given_up or limit_s <= 0:
                    self._give_up(address, error)
                    return None
                if await _is_refused(address):
                    # Its process has ended, and its connections with it. One that is started there has
                    # new ones, and is tried with the next push.
                    if address not in self._dead:
                        log.warning("a gateway has ended", gateway=address)
                    self._dead.add(address)
                    return None
                log.info("a gateway is asked again", gateway=address, error=error.message)
                await asyncio.sleep(min(_PAUSE_S, limit_s))
            else:
                self._note(address, answer)
                return answer

    async def _offer_one(self, address: str, request: PushRequest) -> None:
        if address in self._given_up:
            return
        try:
            await self._call(address, request, EPHEMERAL_TIMEOUT_S)
        except AppError as error:
            log.info("frames lost", gateway=address, error=error.message)

    async def _call(self, address: str, request: PushRequest, limit_s: float) -> PushResponse:
        channel = self._channels.get(address)
        # Not ready: it was not there a moment ago, and the channel has not tried again yet.
        how: Any = {
            "timeout": max(_PAUSE_S, limit_s),
            "wait_for_ready": limit_s < CALL_TIMEOUT_S,
        }
        if _is_for_connections(request):
            push: PushServiceAsyncStub = PushServiceStub(channel)
            exchange: Any = push.PushStream
            # Else it is late or gone, or many batches are on their way: each has a call of its own.
            if limit_s >= CALL_TIMEOUT_S and exchange.is_free:
                try:
                    return cast("PushResponse", await exchange.ask(request, timeout=limit_s))
                except AppError as error:
                    if error.code is not Code.UNIMPLEMENTED:
                        raise
            return await push.Push(request, **how)
        # It may be no gateway: a call over HTTP or gRPC waits there.
        outcomes: OutcomeServiceAsyncStub = OutcomeServiceStub(channel)
        told = await outcomes.Settle(SettleRequest(answers=request.answers), **how)
        return PushResponse(behind_ms=told.behind_ms)

    def _note(self, address: str, answer: PushResponse) -> None:
        self._given_up.pop(address, None)
        self._dead.discard(address)
        if answer.behind_ms > _BEHIND_MS:
            # What comes meanwhile makes one request, which costs it less than many.
            pause_s = min(answer.behind_ms, _MOST_PAUSE_MS) / 1000
            self._rests_until[address] = time.monotonic() + pause_s

    def _give_up(self, address: str, error: AppError) -> None:
        if address not in self._given_up:
            log.warning("a gateway is silent", gateway=address, error=error.message)
        self._dead.discard(address)
        self._given_up[address] = now_ms()
        self._rests_until.pop(address, None)


def _is_for_connections(request: PushRequest) -> bool:
    """Whether it says more than the outcomes of what waits at the address."""
    return bool(
        request.deliveries
        or request.listed_user_ids
        or request.missed_user_ids
        or request.missed_conversation_ids
    )


async def _is_refused(address: str) -> bool:
    """Whether the system says that nobody listens there. It takes connections also for a process that
    stands still."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except ConnectionRefusedError:
        return True
    except OSError:  # TimeoutError is one
        return False
    writer.transport.abort()
    return False
