"""How every process starts and ends.

Start: connect, listen, report healthy, register. End, on SIGTERM or SIGINT: take the entry out of
etcd, report not serving, finish what is in flight, close everything in reverse.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import structlog
import uvloop

from im_common import __version__
from im_common.discovery import Registration
from im_common.rpc.server import RpcServer
from im_common.runtime import context
from im_common.runtime import log as logs
from im_common.runtime.addresses import advertised_address
from im_common.runtime.config import RpcSettings, Settings
from im_common.runtime.dev_server import DevServer
from im_common.runtime.http_limits import raise_open_files
from im_common.runtime.resources import Resources

log = structlog.get_logger(__name__)

SettingsT = TypeVar("SettingsT", bound=Settings)
Main = Callable[[SettingsT, Resources], Awaitable[None]]


def run(settings: SettingsT, main: Main[SettingsT]) -> int:
    """Runs ``main`` until it returns; it is to return soon after ``resources.ending`` is set."""
    logs.configure(settings.name, settings.log)
    if settings.rate_limits == "off":
        log.warning("rate limits are off (IM_RATE_LIMITS=off): for benchmarks only")
    raise_open_files()
    try:
        is_sound = uvloop.run(_run(settings, main))
    except Exception:
        log.exception("the process ends because of an error")
        return 1
    return 0 if is_sound else 1


async def _run(settings: SettingsT, main: Main[SettingsT]) -> bool:
    """Whether all its parts lasted."""
    async with AsyncExitStack() as stack:
        dev_server = DevServer(settings.dev_server, settings.name)
        resources = Resources(settings, dev_server, stack)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, resources.ending.set)
        await dev_server.start()
        stack.push_async_callback(dev_server.close)
        log.info("starting", version=__version__, python=sys.version.split()[0])
        await main(settings, resources)
        log.info("ended", failed=resources.failed)
    return not resources.failed


def started(resources: Resources) -> None:
    """From now on the process counts as up."""
    # What is loaded stays, and what a request makes is freed by its reference counts: the collector
    # would look through all of it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    resources.dev_server.set_started(True)


async def serve_rpc(settings: RpcSettings, resources: Resources, server: RpcServer) -> None:
    """Serves until the end is asked for."""
    async with registered(settings, resources, server):
        await resources.ending.wait()


class registered:
    """A block in which ``server`` answers and others find it."""

    def __init__(self, settings: RpcSettings, resources: Resources, server: RpcServer) -> None:
        self._settings = settings
        self._resources = resources
        self._server = server
        self._registration: Registration | None = None

    async def __aenter__(self) -> str:
        """The address under which others find this instance."""
        await self._server.start()
        address = advertised_address(
            self._settings.listen_on, self._settings.advertise_on, self._server.port
        )
        if self._settings.etcd.key:
            self._registration = Registration(
                self._resources.etcd(), self._settings.etcd.key, address
            )
            await self._registration.start()
            self._resources.dev_server.add_check("etcd", self._check_registered)
        started(self._resources)
        log.info("serving", address=address)
        return address

    async def __aexit__(self, *_exc: object) -> None:
        context.current.set(None)
        self._resources.dev_server.set_started(False)
        if self._registration is not None:
            await self._registration.stop()
        await self._server.report_not_serving()
        await self._server.stop(self._settings.grace / 1000)

    async def _check_registered(self) -> None:
        if self._registration is not None and not self._registration.registered:
            raise ConnectionError("not in etcd")
