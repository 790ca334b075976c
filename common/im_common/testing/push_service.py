"""A small real service for tests of the RPC runtime: PushService, of which it has what is no stream.

Kick may be repeated, Push may not: so their proto says.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from im.gateway.v1.push_pb2 import (
    KickRequest,
    KickResponse,
    PushRequest,
    PushResponse,
    ReplaceRequest,
    ReplaceResponse,
)
from im.gateway.v1.push_pb2_grpc import (
    PushServiceServicer,
    PushServiceStub,
    add_PushServiceServicer_to_server,
)
from im_common.errors import AppError
from im_common.rpc.channel_options import PINGS_ALLOWED
from im_common.rpc.client import BalancedChannel, connect
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime.sections import ClientConf
from im_common.testing.ports import free_port
from im_local.last_will import ends_with_us

if TYPE_CHECKING:
    from im.gateway.v1.push_pb2_grpc import PushServiceAsyncStub

TOKENS = ServiceTokens("0123456789abcdef0123456789abcdef", "test")
Behaviour = Callable[[Any], Awaitable[None]]

KICK = KickRequest(user_id=7)
PUSH = PushRequest()


class Instance(PushServiceServicer):
    """One instance of a service, in this process; ``behaviour`` runs in each of its calls."""

    def __init__(self, behaviour: Behaviour | None) -> None:
        self.behaviour = behaviour
        self.calls: Counter[str] = Counter()
        self.metadata: dict[str, Any] = {}
        # Kept when it is started again.
        self.address = f"127.0.0.1:{free_port()}"

    async def start(self) -> None:
        self.server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", 1 << 24),
                *PINGS_ALLOWED,
            ]
        )
        add_PushServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port(self.address)
        await self.server.start()

    async def Kick(self, request: KickRequest, context: Any) -> KickResponse:
        await self._behave("Kick", context)
        return KickResponse(closed=1)

    async def Replace(self, request: ReplaceRequest, context: Any) -> ReplaceResponse:
        return ReplaceResponse()

    async def Push(self, request: PushRequest, context: Any) -> PushResponse:
        await self._behave("Push", context)
        return PushResponse()

    async def PushStream(self, _requests: Any, call: Any) -> None:  # type: ignore[override]
        await call.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    async def _behave(self, method: str, call: Any) -> None:
        self.calls[method] += 1
        self.metadata = dict(call.invocation_metadata())
        if self.behaviour is not None:
            await self.behaviour(call)


@asynccontextmanager
async def instance(behaviour: Behaviour | None = None) -> AsyncIterator[Instance]:
    started = Instance(behaviour)
    await started.start()
    try:
        yield started
    finally:
        await started.server.stop(None)


@contextmanager
def process() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """An instance in a process of its own, which can be killed: its address and the process."""
    code = """if True:
        import asyncio, grpc
        from im.gateway.v1 import push_pb2, push_pb2_grpc
        from im_common.rpc.channel_options import PINGS_ALLOWED
        class Servicer(push_pb2_grpc.PushServiceServicer):
            async def Kick(self, request, context):
                await asyncio.sleep(0.005)
                return push_pb2.KickResponse(closed=1)
        async def main():
            server = grpc.aio.server(options=PINGS_ALLOWED)
            push_pb2_grpc.add_PushServiceServicer_to_server(Servicer(), server)
            print(server.add_insecure_port("127.0.0.1:0"), flush=True)
            await server.start()
            await server.wait_for_termination()
        asyncio.run(main())
    """
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    has_ended = ends_with_us(child.pid)
    assert child.stdout is not None
    try:
        yield f"127.0.0.1:{int(child.stdout.readline())}", child
    finally:
        child.kill()
        child.wait()
        has_ended()
        child.stdout.close()


@asynccontextmanager
async def client_of(
    *addresses: str, timeout: int = 2000
) -> AsyncIterator[tuple[PushServiceAsyncStub, BalancedChannel]]:
    """A stub on a channel with fixed endpoints."""
    conf = ClientConf(key="ws.rpc", endpoints=list(addresses), timeout=timeout)
    async with connect(conf, None, TOKENS) as channel:
        yield PushServiceStub(channel), channel


async def failing(call: Awaitable[Any]) -> AppError:
    """The error that ``call`` must end with."""
    with pytest.raises(AppError) as caught:
        await call
    return caught.value


async def sleep_long(_call: Any) -> None:
    await asyncio.sleep(30)
