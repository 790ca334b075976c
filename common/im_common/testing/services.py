"""Services in the test's own process, on free ports, and calls to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from im_common.errors import AppError, from_rpc_error
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import context
from im_common.runtime.config import RpcSettings, Settings
from im_common.runtime.dev_server import DevServer
from im_common.runtime.resources import Resources
from im_common.runtime.sections import DevServerConf

SECRET = "a secret of the tests, of 32 bytes or more"
_READY_S = 20.0
_CALL_S = 20.0

# By default a channel that was there before its server tries again after a second, then later.
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]

SettingsT = TypeVar("SettingsT", bound=RpcSettings)
AnySettings = TypeVar("AnySettings", bound=Settings)


@dataclass(frozen=True, slots=True)
class Running:
    """A service that answers."""

    address: str
    # For its generated stubs; calls bring nothing but what the test gives them.
    channel: grpc.aio.Channel
    resources: Resources


@asynccontextmanager
async def running(
    serve: Callable[[SettingsT, Resources], Awaitable[None]], settings: SettingsT
) -> AsyncIterator[Running]:
    """Runs a service's ``serve`` in this loop, as its process would, until the block ends.

    ``settings.listen_on`` must name a port (free_port gives one); an empty etcd key keeps it out of
    etcd.
    """
    async with AsyncExitStack() as stack:
        dev_server = DevServer(DevServerConf(port=0), settings.name)
        resources = Resources(settings, dev_server, stack)
        task = asyncio.create_task(_run(serve, settings, resources))
        try:
            async with channel_to(settings.listen_on) as channel:
                await _until_ready(channel, task)
                yield Running(settings.listen_on, channel, resources)
        finally:
            resources.ending.set()
            await task


def channel_to(address: str) -> grpc.aio.Channel:
    """One that is ready as soon as a server listens there."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


async def run_to_the_end(
    serve: Callable[[AnySettings, Resources], Awaitable[None]], settings: AnySettings
) -> Resources:
    """Runs a process's ``serve`` until it ends by itself. Raises TimeoutError."""
    async with AsyncExitStack() as stack, asyncio.timeout(_READY_S):
        dev_server = DevServer(DevServerConf(port=0), settings.name)
        resources = Resources(settings, dev_server, stack)
        await _run(serve, settings, resources)
    return resources


async def _run(
    serve: Callable[[AnySettings, Resources], Awaitable[None]],
    settings: AnySettings,
    resources: Resources,
) -> None:
    # A request of the test's own must not become the parent of what the service does.
    context.current.set(None)
    await serve(settings, resources)


async def _until_ready(channel: grpc.aio.Channel, task: asyncio.Task[None]) -> None:
    ready = asyncio.ensure_future(channel.channel_ready())
    try:
        async with asyncio.timeout(_READY_S):
            await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            raise RuntimeError("the service ended before it answered")
    finally:
        ready.cancel()


async def call(
    method: Callable[..., Any],
    request: Any,
    *,
    token: str = "",
    service: str = "",
    address: str = "",
    secret: str = SECRET,
    timeout_s: float = _CALL_S,
) -> Any:
    """Calls a stub's method as the user with the access ``token``, as one of our services (by its
    name), for a client at ``address`` (as a gateway says it), or as nobody.

    Raises:
        AppError: what the service answered.
    """
    metadata: list[tuple[str, str]] = []
    if token:
        metadata.append((context.AUTHORIZATION, f"Bearer {token}"))
    if service or address:
        tokens = ServiceTokens(secret, service or "test-gateway")
        metadata.append((context.SERVICE_TOKEN, tokens.current()))
    if address:
        metadata.append((context.CLIENT_ADDRESS, address))
    try:
        return await method(request, metadata=metadata, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def refusal(answer: Awaitable[Any]) -> AppError:
    """The error that a call ends with; a call that succeeds fails the test."""
    try:
        unexpected = await answer
    except AppError as error:
        return error
    raise AssertionError(f"was not refused: {unexpected!r}")
