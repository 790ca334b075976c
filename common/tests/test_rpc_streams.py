"""A stream as a row of calls, between a channel and a server of ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from im.gateway.v1.push_pb2 import Delivery, PushRequest, PushResponse
from im.gateway.v1.push_pb2_grpc import (
    PushServiceServicer,
    PushServiceStub,
    add_PushServiceServicer_to_server,
)
from im_common.errors import AppError, Code
from im_common.rpc import streams
from im_common.rpc.access import Gatekeeper
from im_common.rpc.client import BalancedChannel
from im_common.rpc.server import RpcServer
from im_common.rpc.service_token import ServiceTokens
from im_common.rpc.streams import Exchange
from im_common.runtime.context import Identity
from im_common.testing.ports import free_port
from im_common.testing.push_service import TOKENS, failing, instance

Behaviour = Callable[[PushRequest], Awaitable[None]]


class NoUser:
    async def verify(self, token: str) -> Identity:
        raise AppError(Code.UNAUTHENTICATED, "nobody")


class Servicer(PushServiceServicer):
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        # Of each request, what it was, and by which stream it came. Kept, so that none is in the place
        # of another that has ended.
        self.seen: list[tuple[int, object]] = []

    async def PushStream(self, request: PushRequest, call: Any) -> PushResponse:  # type: ignore[override]
        number = request.deliveries[0].seq
        self.seen.append((number, call))
        await self.behaviour(request)
        return PushResponse(absent_user_ids=[number])

    async def Push(self, _request: PushRequest, _: Any) -> Any:
        raise NotImplementedError

    Kick = Replace = Push


async def _nothing(_request: PushRequest) -> None: ...


def _request(number: int) -> PushRequest:
    return PushRequest(deliveries=[Delivery(seq=number)])


def _server(servicer: Servicer, port: int) -> RpcServer:
    return RpcServer(
        listen_on=f"127.0.0.1:{port}",
        services=["im.gateway.v1.PushService"],
        register=lambda server: add_PushServiceServicer_to_server(servicer, server),  # type: ignore[arg-type]
        gatekeeper=Gatekeeper(NoUser(), TOKENS),
        timeout_ms=20_000,
    )


@asynccontextmanager
async def _exchanging(
    behaviour: Behaviour = _nothing, tokens: ServiceTokens = TOKENS
) -> AsyncIterator[tuple[Exchange, Servicer, RpcServer]]:
    servicer, port = Servicer(behaviour), free_port()
    server = _server(servicer, port)
    await server.start()
    endpoints = [f"127.0.0.1:{port}"]
    try:
        async with BalancedChannel("ws", tokens, timeout_ms=20_000, endpoints=endpoints) as channel:
            yield cast("Exchange", PushServiceStub(channel).PushStream), servicer, server
    finally:
        await server.stop(0)


async def test_requests_are_answered_in_turn_by_one_stream() -> None:
    async with _exchanging() as (exchange, servicer, _):
        for number in range(1, 51):
            answer = await exchange.ask(_request(number), timeout=20)
            assert list(answer.absent_user_ids) == [number]
        assert [number for number, _ in servicer.seen] == list(range(1, 51))
        assert len({stream for _, stream in servicer.seen}) == 1


async def test_who_is_no_service_is_refused() -> None:
    async with _exchanging(tokens=ServiceTokens("w" * 32, "stranger")) as (exchange, servicer, _):
        error = await failing(exchange.ask(_request(1), timeout=20))
        assert error.code is Code.UNAUTHENTICATED
        assert servicer.seen == []


async def test_an_error_is_that_of_the_request_and_the_next_one_is_answered() -> None:
    async def refuse(request: PushRequest) -> None:
        if request.deliveries[0].seq == 2:
            raise AppError(Code.FAILED_PRECONDITION, "not now")
        if request.deliveries[0].seq == 3:
            raise ValueError("the password is hunter2")

    async with _exchanging(refuse) as (exchange, _, _):
        await exchange.ask(_request(1), timeout=20)
        error = await failing(exchange.ask(_request(2), timeout=20))
        assert (error.code, error.message) == (Code.FAILED_PRECONDITION, "not now")
        error = await failing(exchange.ask(_request(3), timeout=20))
        assert (error.code, error.message) == (Code.INTERNAL, "internal error")
        await exchange.ask(_request(4), timeout=20)


async def test_a_late_answer_is_never_taken_for_that_of_another_request() -> None:
    go_on = asyncio.Event()

    async def wait(request: PushRequest) -> None:
        if request.deliveries[0].seq < 3:
            await go_on.wait()

    async with _exchanging(wait) as (exchange, servicer, _):
        error = await failing(exchange.ask(_request(1), timeout=0.2))
        assert error.code is Code.DEADLINE_EXCEEDED
        asking = asyncio.create_task(exchange.ask(_request(2), timeout=20))
        while not asking.done() and 2 not in {number for number, _ in servicer.seen}:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        go_on.set()
        answer = await exchange.ask(_request(3), timeout=20)
        assert list(answer.absent_user_ids) == [3]


async def test_each_request_on_its_way_has_a_stream_and_there_is_an_end_to_them() -> None:
    go_on = asyncio.Event()

    async def wait(_request: PushRequest) -> None:
        await go_on.wait()

    async def ask(number: int) -> None:
        answer = await exchange.ask(_request(number), timeout=20)
        assert list(answer.absent_user_ids) == [number]

    async with _exchanging(wait) as (exchange, servicer, _):
        numbers = set(range(1, streams.MOST_STREAMS + 1))
        asking = set[asyncio.Task[None]]()
        for number in numbers:
            assert exchange.is_free
            asking.add(asyncio.create_task(ask(number)))
            await asyncio.sleep(0)
        assert not exchange.is_free
        while {number for number, _ in servicer.seen} != numbers:
            await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(*asking)
        assert exchange.is_free
        # What comes then takes them over.
        await asyncio.gather(*map(ask, numbers))
        assert len({stream for _, stream in servicer.seen}) == len(numbers)


async def test_a_server_that_stops_answers_what_is_in_hand_and_waits_for_nobody_else() -> None:
    in_hand, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: PushRequest) -> None:
        if request.deliveries[0].seq == 2:
            in_hand.set()
            await go_on.wait()

    async with _exchanging(wait) as (exchange, _, server):
        await exchange.ask(_request(1), timeout=20)
        asking = asyncio.create_task(exchange.ask(_request(2), timeout=20))
        await in_hand.wait()
        began = time.monotonic()
        stopping = asyncio.create_task(server.stop(30))
        await asyncio.sleep(0)
        go_on.set()
        assert list((await asking).absent_user_ids) == [2]
        await stopping
        assert time.monotonic() - began < 10
        error = await failing(exchange.ask(_request(3), timeout=10))
        assert error.code is Code.UNAVAILABLE


async def test_an_idle_stream_does_not_hold_the_stop_up() -> None:
    async with _exchanging() as (exchange, _, server):
        await exchange.ask(_request(1), timeout=20)
        began = time.monotonic()
        await server.stop(30)
        assert time.monotonic() - began < 10


async def test_a_server_that_is_there_again_is_asked_by_a_new_stream() -> None:
    async with _exchanging() as (exchange, servicer, server):
        await exchange.ask(_request(1), timeout=20)
        await server.stop(0)
        assert (await failing(exchange.ask(_request(2), timeout=10))).code is Code.UNAVAILABLE
        again = _server(servicer, server.port)
        await again.start()
        deadline = time.monotonic() + 30
        try:
            while True:
                try:
                    answer = await exchange.ask(_request(3), timeout=20)
                    break
                except AppError:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
            assert list(answer.absent_user_ids) == [3]
        finally:
            await again.stop(0)


async def test_a_stream_grows_only_so_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _exchanging() as (exchange, servicer, _):
        await exchange.ask(_request(1), timeout=20)
        monkeypatch.setattr(streams, "MOST_AGE_S", 0.0)
        await exchange.ask(_request(2), timeout=20)
        assert len({stream for _, stream in servicer.seen}) == 2


async def test_a_server_that_knows_calls_only_is_asked_no_more() -> None:
    async with instance() as old:
        endpoints = [old.address]
        async with BalancedChannel("ws", TOKENS, timeout_ms=20_000, endpoints=endpoints) as channel:
            exchange = cast("Exchange", PushServiceStub(channel).PushStream)
            error = await failing(exchange.ask(_request(1), timeout=20))
            assert error.code is Code.UNIMPLEMENTED
            assert not exchange.is_free
