"""Channels that follow the instances of a service, and channels to one instance."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from im.gateway.v1.push_pb2 import PushResponse
from im.gateway.v1.push_pb2_grpc import (
    PushServiceStub,
)
from im_common.discovery import EtcdClient, Registration
from im_common.errors import AppError, Code
from im_common.rpc.client import AddressChannels, connect
from im_common.runtime import context
from im_common.runtime.sections import ClientConf, EtcdConf
from im_common.testing.etcd import EtcdServer
from im_common.testing.pings import hasten_pings
from im_common.testing.push_service import (
    KICK,
    PUSH,
    TOKENS,
    Instance,
    client_of,
    failing,
    instance,
    process,
)
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from im.gateway.v1.push_pb2_grpc import PushServiceAsyncStub


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    token = context.current.set(None)
    yield
    context.current.reset(token)


async def test_calls_are_spread_evenly() -> None:
    async with instance() as a, instance() as b, client_of(a.address, b.address) as (stub, _):
        async with asyncio.timeout(10):
            while not (a.calls["Kick"] and b.calls["Kick"]):  # both are connected
                await stub.Kick(KICK)
        a.calls.clear()
        b.calls.clear()
        await asyncio.gather(*(stub.Kick(KICK) for _ in range(100)))
        assert a.calls["Kick"] == b.calls["Kick"] == 50


async def test_instances_are_found_in_etcd_as_they_come_and_go(tmp_path: Path) -> None:
    """One stub, built before there is any instance; no call fails meanwhile."""
    etcd = EtcdServer(tmp_path)
    etcd.start()
    client = EtcdClient(etcd.conf)
    try:
        async with instance() as a, instance() as b:
            first, second = (Registration(client, "ws.rpc", i.address) for i in (a, b))
            async with connect(ClientConf(key="ws.rpc"), client, TOKENS) as channel:
                stub = PushServiceStub(channel)
                call = asyncio.ensure_future(stub.Kick(KICK))
                await first.start()
                assert (await call).closed == 1
                await second.start()
                await eventually(lambda: _called(stub, b))
                await first.stop()
                await eventually(lambda: _is_left_alone(stub, a))
                assert (await stub.Push(PUSH)) == PushResponse()
                etcd.kill()
                assert (await stub.Kick(KICK)).closed == 1
                await second.stop()
    finally:
        await client.close()
        etcd.kill()


async def test_a_service_without_instances_is_unavailable(tmp_path: Path) -> None:
    etcd = EtcdClient(EtcdConf(hosts=["127.0.0.1:1"]))
    async with connect(ClientConf(key="user.rpc"), etcd, TOKENS) as channel:
        started = time.monotonic()
        error = await failing(PushServiceStub(channel).Kick(KICK))
        assert (error.code, error.message) == (Code.UNAVAILABLE, "user.rpc has no instance")
        # Before its own deadline, which would be told as another error.
        assert time.monotonic() - started > 0.9
        context.begin(deadline=time.monotonic() + 0.1)
        times = list[float]()
        for _ in range(3):
            started = time.monotonic()
            await failing(PushServiceStub(channel).Kick(KICK))
            times.append(time.monotonic() - started)
        # What else the machine does only ever adds to a time.
        assert min(times) < 0.5
    await etcd.close()


async def test_a_killed_instance_costs_no_repeatable_call() -> None:
    with ExitStack() as stack:
        address, victim = stack.enter_context(process())
        other, _ = stack.enter_context(process())
        async with client_of(address, other) as (stub, _):
            answered = 0

            async def load() -> None:
                nonlocal answered
                while answered < 2000:
                    await stub.Kick(KICK)
                    answered += 1
                    if answered == 500:
                        victim.kill()

            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(load())
            assert answered >= 2000


async def test_a_frozen_instance_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten_pings(monkeypatch, "im_common.rpc.channel_options._FIXED")
    with process() as (address, frozen), process() as (other, _):
        async with client_of(address, other, timeout=300) as (stub, _):
            await asyncio.gather(*(stub.Kick(KICK) for _ in range(20)))
            frozen.send_signal(signal.SIGSTOP)
            await eventually(lambda: _all_succeed(stub, 10), within_s=20)


async def test_an_instance_that_is_back_is_called_again_soon() -> None:
    async with instance() as a, client_of(a.address) as (stub, _):
        await stub.Kick(KICK)
        await a.server.stop(None)
        assert (await failing(stub.Push(PUSH))).code is Code.UNAVAILABLE
        await a.start()
        # By default gRPC would wait for up to two minutes.
        await eventually(lambda: _succeeds(stub.Kick(KICK)))


async def test_a_call_in_flight_ends_on_the_channel_it_began_on() -> None:
    release = asyncio.Event()

    async def wait(_call: Any) -> None:
        await release.wait()

    async with instance(wait) as a, instance() as b, client_of(a.address) as (stub, channel):
        call = asyncio.ensure_future(stub.Push(PUSH))
        await eventually(lambda: a.calls["Push"])
        channel.use([b.address])
        await stub.Push(PUSH)
        assert b.calls["Push"] == 1
        release.set()
        assert await call == PushResponse()


async def test_names_are_resolved() -> None:
    async with instance() as a, instance() as b:
        names = [i.address.replace("127.0.0.1", "localhost") for i in (a, b)]
        async with client_of(names[0]) as (stub, _):
            await stub.Kick(KICK)
        async with client_of(*names) as (stub, _):
            await eventually(lambda: _called(stub, b))
        async with client_of(names[1], "no-such-host.invalid:1") as (stub, _):
            await stub.Kick(KICK)


async def test_a_client_needs_endpoints_or_etcd() -> None:
    with pytest.raises(ValueError, match="Endpoints"):
        connect(ClientConf(key="user.rpc"), None, TOKENS)


# Channels by address


async def test_an_address_has_one_channel_until_it_rests() -> None:
    channels = AddressChannels(TOKENS, idle_s=0.4)
    async with instance() as a, instance() as b:
        await PushServiceStub(channels.get(a.address)).Push(PUSH)
        busy, resting = channels.get(a.address), channels.get(b.address)
        await PushServiceStub(resting).Push(PUSH)
        async with asyncio.timeout(10):
            while resting.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:
                await PushServiceStub(channels.get(a.address)).Push(PUSH)
                await asyncio.sleep(0.05)
        assert channels.get(a.address) is busy
        assert channels.get(b.address) is not resting
        await PushServiceStub(channels.get(b.address)).Push(PUSH)
        await channels.close()
        assert busy.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def _called(stub: PushServiceAsyncStub, wanted: Instance) -> bool:
    before = wanted.calls["Kick"]
    await stub.Kick(KICK)
    await stub.Kick(KICK)
    return wanted.calls["Kick"] > before


async def _is_left_alone(stub: PushServiceAsyncStub, unwanted: Instance) -> bool:
    return not await _called(stub, unwanted)


async def _all_succeed(stub: PushServiceAsyncStub, count: int) -> bool:
    outcomes = await asyncio.gather(*(_succeeds(stub.Kick(KICK)) for _ in range(count)))
    return all(outcomes)


async def _succeeds(call: Awaitable[Any]) -> bool:
    try:
        await call
    except AppError:
        return False
    return True
