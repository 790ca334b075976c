"""How every process starts and ends.

It ends on SIGTERM, on SIGINT, and when one of its parts fails.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import structlog
import uvloop

from im_common import __version__
from im_common.discovery import Registration
from im_common.rpc.server import RpcServer
from im_common.runtime import context, loop_delay, tracing
from im_common.runtime import log as logs
from im_common.runtime.addresses import advertised_address
from im_common.runtime.config import RpcSettings, Settings
from im_common.runtime.dev_server import DevServer
from im_common.runtime.http_limits import raise_open_files
from im_common.runtime.resources import Resources

log = structlog.get_logger(__name__)

SettingsT = TypeVar("SettingsT", bound=Settings)
Main = Callable[[SettingsT, Resources], Awaitable[None]]

# How long a library's threads may hold up the end of a process that has closed all it had.
_THREADS_END_WITHIN_S = 1.0


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
        if (spans := tracing.start(settings.name, settings.telemetry)) is not None:
            stack.push_async_callback(asyncio.to_thread, spans.close)
        log.info("starting", version=__version__, python=sys.version.split()[0])
        resources.keep(loop_delay.measure(), "event loop delay")
        await main(settings, resources)
        log.info("ended", failed=resources.failed)
    is_sound = not resources.failed
    _leave_within(_THREADS_END_WITHIN_S, code=0 if is_sound else 1)
    return is_sound


def _leave_within(seconds: float, *, code: int) -> None:
    """Ends the process by then, though a thread still waits: the loop's end waits for its threads, and
    one that looks up a name does so for as long as the resolver says, 10 to 40 s, wanted or not
    (findings/uvloop-closes-a-loop-only-when-a-look-up-that-was-cancelled-is-done.sh).
    """

    def leave() -> None:
        log.warning("a thread did not end, and is left", within_s=seconds)
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


async def serve(
    settings: Settings,
    resources: Resources,
    *,
    rpc: RpcServer | None = None,
    begin: Callable[[str], Awaitable[None]] | None = None,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """From the first call that a process takes to its last answer: one order for every process.

    It listens, begins what needs the address under which others find it (``begin``; empty without an
    ``rpc``), enters itself in etcd, and is ready. Asked to end it is no longer ready, leaves etcd and
    reports NOT_SERVING, so that nobody new comes; finishes what is in hand (``drain``); and closes.
    Raises OSError when a port is taken.
    """
    async with AsyncExitStack() as closing:
        address = ""
        if rpc is not None:
            assert isinstance(settings, RpcSettings)
            await rpc.start()
            closing.push_async_callback(rpc.stop, settings.grace / 1000)
            address = advertised_address(settings.listen_on, settings.advertise_on, rpc.port)
        if begin is not None:
            await begin(address)
        if drain is not None:
            closing.push_async_callback(drain)
        if rpc is not None:
            closing.push_async_callback(rpc.report_not_serving)
            if settings.etcd.key:
                closing.push_async_callback((await _register(resources, settings, address)).stop)
        closing.callback(resources.dev_server.set_started, False)
        _freeze()
        resources.dev_server.set_started(True)
        log.info("serving", address=address)
        await resources.ending.wait()
        # What the end does belongs to no request.
        context.current.set(None)


async def _register(resources: Resources, settings: Settings, address: str) -> Registration:
    registration = Registration(resources.etcd(), settings.etcd.key, address)
    await registration.start()

    async def check() -> None:
        if not registration.registered:
            raise ConnectionError("not in etcd")

    resources.dev_server.add_check("etcd", check)
    return registration


def _freeze() -> None:
    """What is loaded stays, and what a request makes is freed by its reference counts: the collector
    would look through all of it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
