"""Calls to other services over real sockets: identity, deadlines, errors, retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import uvloop
from prometheus_client import REGISTRY

from im.gateway.v1.outcome_pb2 import Answer
from im.gateway.v1.push_pb2 import KickRequest, PushRequest
from im.gateway.v1.push_pb2_grpc import (
    PushServiceStub,
)
from im_common.errors import AppError, Code, to_trailers
from im_common.rpc.client import BalancedChannel
from im_common.runtime import context
from im_common.testing.push_service import (
    KICK,
    PUSH,
    TOKENS,
    client_of,
    failing,
    instance,
    sleep_long,
)
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    pass


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    token = context.current.set(None)
    yield
    context.current.reset(token)


# Retries


async def say_unavailable(call: Any) -> None:
    await call.abort(grpc.StatusCode.UNAVAILABLE, "not now")


@pytest.mark.parametrize("stub_first", [True, False])
async def test_only_repeatable_methods_are_tried_again(stub_first: bool) -> None:
    """Also when a stub is built on a channel that is in use."""
    async with instance(say_unavailable) as a, client_of(a.address) as (stub, channel):
        if not stub_first:
            bare = BalancedChannel("bare", TOKENS, timeout_ms=2000, endpoints=[a.address])
            await failing(bare.unary_unary("/im.gateway.v1.PushService/Push")(b""))
            a.calls.clear()
            stub, channel = PushServiceStub(bare), bare
        assert (await failing(stub.Push(PUSH))).code is Code.UNAVAILABLE
        assert a.calls["Push"] == 1
        assert (await failing(stub.Kick(KICK))).code is Code.UNAVAILABLE
        assert a.calls["Kick"] == 5
        await channel.close()


async def test_a_big_request_is_tried_again_as_a_small_one_is() -> None:
    big = KickRequest(user_id=7, session_ids=["x" * 1024] * 3 * 1024)
    async with instance(say_unavailable) as a, client_of(a.address) as (stub, _):
        assert (await failing(stub.Kick(big))).code is Code.UNAVAILABLE
        assert a.calls["Kick"] == 5


# Deadlines, identity, errors


async def test_who_asks_travels_along() -> None:
    async with instance() as a, client_of(a.address) as (stub, _):
        request = context.begin(request_id="r-1")
        request.user_token = "user-token"
        request.client_address = "203.0.113.7"
        await stub.Kick(KICK)
        assert a.metadata["x-request-id"] == "r-1"
        assert a.metadata["traceparent"] == request.traceparent
        assert a.metadata["authorization"] == "Bearer user-token"
        assert a.metadata["x-im-client-address"] == "203.0.113.7"
        assert TOKENS.verify(a.metadata["x-im-service-token"]) == "test"


async def test_a_service_of_its_own_accord_shows_only_itself() -> None:
    async with instance() as a, client_of(a.address) as (stub, _):
        await stub.Kick(KICK, metadata=(("x-extra", "1"),))
        assert TOKENS.verify(a.metadata["x-im-service-token"]) == "test"
        assert a.metadata["x-extra"] == "1"
        assert "authorization" not in a.metadata


@pytest.mark.parametrize(
    ("timeout_ms", "left_s", "asked_s", "arrives_s"),
    [(30_000, None, None, 30), (30_000, 20, None, 20), (30_000, 90, 90, 30), (30_000, 90, 10, 10)],
    ids=["the client's own", "the request's", "not more than the own", "the call's"],
)
async def test_the_nearest_deadline_arrives(
    timeout_ms: int, left_s: float | None, asked_s: float | None, arrives_s: float
) -> None:
    arrived: list[float] = []

    async def note(call: Any) -> None:
        arrived.append(call.time_remaining())

    async with instance(note) as a, client_of(a.address, timeout=timeout_ms) as (stub, _):
        if left_s is not None:
            context.begin(deadline=time.monotonic() + left_s)
        await stub.Kick(KICK, timeout=asked_s)
        # It takes its time on the way; none of them is waited for.
        assert arrives_s - 8 < arrived[0] <= arrives_s + 1


async def test_a_spent_deadline_costs_no_call() -> None:
    async with instance() as a, client_of(a.address) as (stub, _):
        context.begin(deadline=time.monotonic() - 1)
        assert (await failing(stub.Kick(KICK))).code is Code.DEADLINE_EXCEEDED
        assert not a.calls


async def test_a_slow_service_is_not_waited_for() -> None:
    async with instance(sleep_long) as a, client_of(a.address, timeout=200) as (stub, _):
        started = time.monotonic()
        assert (await failing(stub.Kick(KICK))).code is Code.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 10


async def test_an_error_arrives_as_it_was_raised() -> None:
    async def refuse(call: Any) -> None:
        error = AppError(Code.BLOCKED, "blocked", field="to", retry_after_ms=1500)
        await call.abort(error.traits.grpc, error.message, to_trailers(error))

    async with instance(refuse) as a, client_of(a.address) as (stub, _):
        error = await failing(stub.Kick(KICK))
        assert (error.code, error.message) == (Code.BLOCKED, "blocked")
        assert (error.field, error.retry_after_ms) == ("to", 1500)
        assert isinstance(error.__cause__, grpc.aio.AioRpcError)


async def test_a_plain_error_tells_no_internals() -> None:
    async def fail(_call: Any) -> None:
        raise RuntimeError("password=hunter2")

    async with instance(fail) as a, client_of(a.address) as (stub, _):
        error = await failing(stub.Kick(KICK))
        assert (error.code, error.message) == (Code.INTERNAL, "internal")
    async with client_of("127.0.0.1:1") as (stub, _):
        error = await failing(stub.Push(PUSH))
        assert error.code is Code.UNAVAILABLE
        assert "127.0.0.1" not in error.message


async def test_a_cancelled_call_is_cancelled_at_the_other_end_too() -> None:
    ended = asyncio.Event()

    async def wait(_call: Any) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    async with instance(wait) as a, client_of(a.address) as (stub, _):
        call = asyncio.ensure_future(stub.Kick(KICK))
        await eventually(lambda: a.calls["Kick"])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(ended.wait(), 10)


@pytest.mark.parametrize("end", ["client", "server"])
async def test_an_end_in_the_middle_of_a_call_is_no_cancellation(end: str) -> None:
    async with instance(sleep_long) as a, client_of(a.address) as (stub, channel):
        call = asyncio.ensure_future(stub.Push(PUSH))
        await eventually(lambda: a.calls["Push"])
        await (channel.close() if end == "client" else a.server.stop(None))
        assert (await failing(call)).code is Code.UNAVAILABLE


async def test_a_closed_channel_takes_no_calls() -> None:
    async with instance() as a, client_of(a.address) as (stub, channel):
        await channel.close()
        assert (await failing(stub.Kick(KICK))).code is Code.UNAVAILABLE


async def test_messages_of_several_megabytes_pass() -> None:
    async with instance() as a, client_of(a.address) as (stub, _):
        await stub.Push(PushRequest(answers=[Answer(frame=b"x" * (5 << 20))]))


async def test_calls_are_counted_by_their_outcome() -> None:
    def count(code: str) -> float:
        labels = {"method": "/im.gateway.v1.PushService/Kick", "code": code}
        return REGISTRY.get_sample_value("im_rpc_client_seconds_count", labels) or 0.0

    before = count("OK"), count("DEADLINE_EXCEEDED")
    async with instance() as a, client_of(a.address) as (stub, _):
        await stub.Kick(KICK)
        context.begin(deadline=0.0)
        await failing(stub.Kick(KICK))
    assert (count("OK"), count("DEADLINE_EXCEEDED")) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_loops_will_do(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(test_who_asks_travels_along())
        runner.run(test_an_end_in_the_middle_of_a_call_is_no_cancellation("client"))
