"""The HTTP server of the process: uvicorn on a socket of ours, ended by us."""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType

import structlog
import uvicorn
from starlette.types import ASGIApp

from api_gateway import admin, svc
from api_gateway.app import build_app
from api_gateway.config import HttpConf, Settings
from api_gateway.middleware import FILES_PATH
from im_common.runtime import process
from im_common.runtime.dev_server import EmbeddedServer, listening_socket
from im_common.runtime.http_limits import HttpLimits
from im_common.runtime.http_protocol import limited_protocol
from im_common.runtime.resources import Resources

log = structlog.get_logger(__name__)

# Longer than the idle time of the usual load balancers (60 s), so that it is never us who close a
# connection at the moment a request is sent on it.
KEEP_ALIVE_S = 75


async def serve(
    settings: Settings, resources: Resources, *, listener: socket.socket | None = None
) -> None:
    """Serves until the end is asked for; then finishes the requests in flight. ``listener`` is a socket
    that others accept from, too; without it a new one is opened, and the operators' page is here."""
    if listener is None:
        await admin.mount(settings, resources)
    service = await svc.build(settings, resources)
    app = build_app(service)
    limits = replace(
        settings.http.limits,
        large_path=FILES_PATH.encode(),
        large_body_timeout_s=settings.files.timeout / 1000,
    )
    server = HttpServer(app, settings.http, limits, grace_ms=settings.grace, listener=listener)
    serving = AsyncExitStack()

    async def begin(_address: str) -> None:
        await serving.enter_async_context(server)
        log.info("serving HTTP", address=server.address)

    await process.serve(settings, resources, begin=begin, drain=serving.aclose)


class HttpServer:
    """A block in which ``app`` is served on ``conf.listen_on`` (port 0 takes a free one), or on the
    ``listener``, within the ``limits``.

    Raises OSError when the port is taken. At its end it accepts no more, and waits at most
    ``grace_ms`` for what is in flight.
    """

    def __init__(
        self,
        app: ASGIApp,
        conf: HttpConf,
        limits: HttpLimits,
        *,
        grace_ms: int,
        listener: socket.socket | None = None,
    ) -> None:
        self._listen_on = conf.listen_on
        self._listener = listener
        self._server = EmbeddedServer(
            uvicorn.Config(
                app,
                http=limited_protocol(limits, conf.guests()),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                # The address of the client is found by our own rule.
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(grace_ms / 1000),
            )
        )
        self._task: asyncio.Task[None] | None = None
        self.address = ""

    async def __aenter__(self) -> HttpServer:
        listener = self._listener or listening_socket(self._listen_on)
        host = self._listen_on.rpartition(":")[0]
        self.address = f"{host}:{listener.getsockname()[1]}"
        self._task = asyncio.create_task(self._server.serve([listener]), name="http-server")
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
