"""The gRPC server: access, errors, deadline, health, reflection; on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from im.common.v1.process_pb2 import DescribeProcessRequest
from im.common.v1.process_pb2_grpc import ProcessServiceStub
from im.friend.v1 import friend_pb2 as pb
from im.friend.v1.friend_pb2_grpc import (
    FriendServiceServicer,
    FriendServiceStub,
    add_FriendServiceServicer_to_server,
)
from im_common import __version__
from im_common.domain.ids import now_ms
from im_common.errors import AppError, Code
from im_common.rpc.access import Gatekeeper, UndeclaredAccess, access_table
from im_common.rpc.server import RpcServer
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import context
from im_common.runtime.context import Identity
from im_common.testing.protos import every_service
from im_common.testing.services import SECRET, call, refusal

SERVICE = "im.friend.v1.FriendService"


class OneUser:
    """Knows one token."""

    async def verify(self, token: str) -> Identity:
        if token != "good":
            raise AppError(Code.TOKEN_EXPIRED, "expired")
        return Identity(7, "s", "d", "web", 0)


class Servicer(FriendServiceServicer):
    def __init__(self, behaviour: Callable[[], Awaitable[None]]) -> None:
        self.behaviour = behaviour
        self.seen: context.RequestContext | None = None

    async def BlockUser(self, request: pb.BlockUserRequest, _: Any) -> pb.BlockUserResponse:
        self.seen = context.current.get()
        await self.behaviour()
        return pb.BlockUserResponse()

    async def IsBlocked(self, request: pb.IsBlockedRequest, _: Any) -> pb.IsBlockedResponse:
        self.seen = context.current.get()
        return pb.IsBlockedResponse(blocked=True)


async def _nothing() -> None: ...


@asynccontextmanager
async def serving(
    behaviour: Callable[[], Awaitable[None]] = _nothing, timeout_ms: int = 2000
) -> AsyncIterator[tuple[Any, Servicer, grpc.aio.Channel, RpcServer]]:
    servicer = Servicer(behaviour)
    server = RpcServer(
        listen_on="127.0.0.1:0",
        services=[SERVICE],
        register=lambda s: add_FriendServiceServicer_to_server(servicer, s),  # type: ignore[arg-type]
        gatekeeper=Gatekeeper(OneUser(), ServiceTokens(SECRET, "friend-service")),
        timeout_ms=timeout_ms,
    )
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield FriendServiceStub(channel), servicer, channel, server
    finally:
        await server.stop(0)


BLOCK = pb.BlockUserRequest(user_id=8)


async def test_a_user_method_acts_for_the_user_in_the_token() -> None:
    async with serving() as (stub, servicer, _, _):
        assert (await refusal(call(stub.BlockUser, BLOCK))).code is Code.UNAUTHENTICATED
        assert (await refusal(call(stub.BlockUser, BLOCK, token="x"))).code is Code.TOKEN_EXPIRED
        # A service by itself is nobody's user.
        error = await refusal(call(stub.BlockUser, BLOCK, service="chat-service"))
        assert error.code is Code.UNAUTHENTICATED
        await call(stub.BlockUser, BLOCK, token="good")
        assert servicer.seen is not None
        assert servicer.seen.identity is not None
        assert servicer.seen.identity.user_id == 7


async def test_an_internal_method_is_for_services_only() -> None:
    request = pb.IsBlockedRequest(user_id=1, target_id=2)
    async with serving() as (stub, servicer, _, _):
        assert (await refusal(call(stub.IsBlocked, request))).code is Code.UNAUTHENTICATED
        error = await refusal(call(stub.IsBlocked, request, token="good"))
        assert error.code is Code.PERMISSION_DENIED
        error = await refusal(call(stub.IsBlocked, request, service="x", secret="w" * 32))
        assert error.code is Code.UNAUTHENTICATED
        assert (await call(stub.IsBlocked, request, service="chat-service")).blocked
        assert servicer.seen is not None
        assert servicer.seen.service == "chat-service"


async def test_only_a_service_may_say_where_a_client_is() -> None:
    async with serving() as (stub, servicer, _, _):
        header = [
            (context.AUTHORIZATION, "Bearer good"),
            (context.CLIENT_ADDRESS, "6.6.6.6"),
        ]
        await stub.BlockUser(BLOCK, metadata=header)
        assert servicer.seen is not None
        assert servicer.seen.client_address == ""
        await call(stub.BlockUser, BLOCK, token="good", address="10.0.0.1")
        assert servicer.seen.client_address == "10.0.0.1"


async def test_nothing_internal_leaves_the_server() -> None:
    async def fail() -> None:
        raise ValueError("password is hunter2")

    async with serving(fail) as (stub, _, _, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.BlockUser(BLOCK, metadata=[(context.AUTHORIZATION, "Bearer good")])
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "hunter2" not in repr(caught.value)
        assert (await refusal(call(stub.BlockUser, BLOCK, token="good"))).code is Code.INTERNAL


async def test_a_handler_that_is_cancelled_from_inside_is_answered_at_once() -> None:
    async def fail() -> None:
        inner = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async with serving(fail, timeout_ms=30_000) as (stub, _, _, _):
        async with asyncio.timeout(10):
            error = await refusal(call(stub.BlockUser, BLOCK, token="good"))
        assert error.code is Code.INTERNAL


async def test_a_server_that_stops_waits_for_what_a_handler_does_at_its_end() -> None:
    begun, done = asyncio.Event(), []

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)
            done.append(True)

    async with serving(work, timeout_ms=30_000) as (stub, _, _, server):
        calling = asyncio.create_task(refusal(call(stub.BlockUser, BLOCK, token="good")))
        await begun.wait()
        await server.stop(0)
        assert done
        assert (await calling).code is Code.UNAVAILABLE


async def test_an_error_of_ours_arrives_as_it_was() -> None:
    async def fail() -> None:
        raise AppError(Code.GROUP_FULL, "full", field="user_ids", retry_after_ms=5)

    async with serving(fail) as (stub, _, _, _):
        error = await refusal(call(stub.BlockUser, BLOCK, token="good"))
        assert (error.code, error.field, error.retry_after_ms) == (Code.GROUP_FULL, "user_ids", 5)


async def test_an_outage_beneath_is_unavailable() -> None:
    async def fail() -> None:
        raise ConnectionRefusedError("10.0.0.9:3306")

    async with serving(fail) as (stub, _, _, _):
        error = await refusal(call(stub.BlockUser, BLOCK, token="good"))
        assert error.code is Code.UNAVAILABLE
        assert "3306" not in error.message


async def test_what_is_not_there_is_unimplemented() -> None:
    async with serving() as (stub, _, _, _):
        request = pb.ListFriendsRequest()
        assert (await refusal(call(stub.ListFriends, request))).code is Code.UNAUTHENTICATED
        error = await refusal(call(stub.ListFriends, request, token="good"))
        assert error.code is Code.UNIMPLEMENTED


async def test_a_call_without_a_deadline_gets_the_servers() -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with serving(hang, timeout_ms=100) as (stub, _, _, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.BlockUser(BLOCK, metadata=[(context.AUTHORIZATION, "Bearer good")])
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert started.is_set()


async def test_request_id_and_trace_are_passed_on() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving() as (stub, servicer, _, _):
        header = [
            (context.AUTHORIZATION, "Bearer good"),
            (context.REQUEST_ID, "req-1"),
            (context.TRACEPARENT, trace),
        ]
        await stub.BlockUser(BLOCK, metadata=header)
        assert servicer.seen is not None
        assert servicer.seen.request_id == "req-1"
        assert servicer.seen.trace_id == "0af7651916cd43dd8448eb211c80319c"
        assert servicer.seen.traceparent != trace
        header[1:] = [(context.REQUEST_ID, "bad id, " * 20)]
        await stub.BlockUser(BLOCK, metadata=header)
        assert len(servicer.seen.request_id) == 16


async def test_health_and_reflection_need_no_token() -> None:
    async with serving() as (_, _, channel, server):
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        async for answer in reflection.ServerReflectionInfo(iter(asked)):
            names = {service.name for service in answer.list_services_response.service}
            assert SERVICE in names
        await server.report_not_serving()
        status = (await health.Check(request)).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_each_process_says_what_it_is_to_services_alone() -> None:
    async with serving() as (_, _, channel, _):
        describe = ProcessServiceStub(channel).DescribeProcess
        found = await call(describe, DescribeProcessRequest(), service="im-admin")
        assert found.version == __version__
        assert 0 < found.started_at <= now_ms()
        error = await refusal(call(describe, DescribeProcessRequest()))
        assert error.code is Code.UNAUTHENTICATED


def reflecting(channel: grpc.aio.Channel, service: str) -> Any:
    """The same messages under either name."""
    return channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_answers_under_both_names_and_finds_methods(version: str) -> None:
    name = f"grpc.reflection.{version}.ServerReflection"
    symbols = [SERVICE, f"{SERVICE}.BlockUser", name, f"{name}.ServerReflectionInfo", "no.Such"]
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=s) for s in symbols),
    ]
    async with serving() as (_, _, channel, _):
        answers = [answer async for answer in reflecting(channel, name)(iter(requests))]
    listed, *found, none = answers
    assert {SERVICE, name} <= {service.name for service in listed.list_services_response.service}
    for symbol, answer in zip(symbols, found, strict=False):
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
        services = [f"{file.package}.{each.name}" for file in files for each in file.service]
        assert any(symbol.startswith(service) for service in services), symbol
    assert none.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_health_is_listed() -> None:
    async with serving() as (_, _, channel, server):
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        listed = (await health.List(health_pb2.HealthListRequest())).statuses
        assert listed[SERVICE].status == health_pb2.HealthCheckResponse.SERVING
        await server.report_not_serving()
        listed = (await health.List(health_pb2.HealthListRequest())).statuses
        assert listed[""].status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_who_watches_the_health_is_told_the_end_and_holds_nothing_up() -> None:
    async with serving() as (_, _, channel, server):
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await server.report_not_serving()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        async with asyncio.timeout(20):
            await server.stop(60)
        assert await watch.read() is grpc.aio.EOF


@pytest.mark.parametrize(("size", "is_taken"), [(15_000, True), (20_000, False)])
async def test_the_size_of_metadata_has_one_limit(size: int, is_taken: bool) -> None:
    header = [(context.AUTHORIZATION, "Bearer good"), ("x-much", "m" * size)]
    async with serving() as (stub, _, _, _):
        answers = await asyncio.gather(
            *(stub.BlockUser(BLOCK, metadata=header) for _ in range(40)), return_exceptions=True
        )
    assert {isinstance(answer, pb.BlockUserResponse) for answer in answers} == {is_taken}


async def test_a_client_without_a_call_may_ping() -> None:
    pings = [
        ("grpc.keepalive_time_ms", 1_100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with serving() as (_, _, _, server):
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target, options=pings) as channel:
            await channel.channel_ready()
            # The third ping would be answered with GOAWAY.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


def test_a_method_that_declares_no_access_keeps_the_server_from_starting() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="open.proto", package="test.open")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="OpenService")
    service.method.add(name="Do", input_type=".test.open.Nothing", output_type=".test.open.Nothing")
    descriptor_pool.Default().Add(file)  # type: ignore[attr-defined]
    with pytest.raises(UndeclaredAccess, match=r"/test\.open\.OpenService/Do"):
        access_table(["test.open.OpenService"])


def test_every_method_of_every_service_declares_its_access() -> None:
    services = every_service()
    table = access_table(service.full_name for service in services)
    assert len(table) == sum(len(service.methods) for service in services) >= 110
