"""The operator's HTTP port of each process: /healthz, /readyz, /metrics, and what a process mounts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any

import msgspec
import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from im_common import __version__
from im_common.runtime.http_limits import Guests, HttpLimits
from im_common.runtime.http_protocol import limited_protocol
from im_common.runtime.sections import DevServerConf

log = structlog.get_logger(__name__)

# Raises (anything) when the part is not usable.
Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT_S = 1.5
MOST_CONNECTIONS = 128

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class DevServer:
    """Alive is that the loop answers; ready is that every check passes and the end has not begun."""

    def __init__(self, conf: DevServerConf, service: str) -> None:
        self._conf = conf
        self._service = service
        self._checks: dict[str, Check] = {}
        self._apps: dict[str, App] = {}
        self._started = False
        # What /metrics shows.
        self.measures: Callable[[], bytes] = generate_latest
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        # Where it listens, once started.
        self.port = 0

    def add_check(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def mount(self, path: str, app: App) -> None:
        """An ASGI application that answers for ``path`` and all below it."""
        self._apps[path] = app

    def set_started(self, started: bool) -> None:
        """Whether the process has come up (and has not begun to end)."""
        self._started = started

    async def start(self) -> None:
        """Listens. Raises OSError when the port is taken."""
        config = uvicorn.Config(
            self._app,
            # Not seen by uvicorn itself on a bound method.
            interface="asgi3",
            http=limited_protocol(HttpLimits(), Guests(MOST_CONNECTIONS, 0)),
            lifespan="off",
            log_config=None,
            access_log=False,
            # Whoever connects is who asks: nobody says otherwise here.
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = EmbeddedServer(config)
        listener = listening_socket(f"{self._conf.host}:{self._conf.port}")
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve([listener]), name="dev-server")

    async def close(self) -> None:
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._task, 2)

    async def _app(self, scope: Scope, receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        for path, app in self._apps.items():
            if scope["path"] == path or scope["path"].startswith(f"{path}/"):
                await app(scope, receive, send)
                return
        status, content_type, body = await self._respond(scope["path"])
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, self.measures()
        if path == "/healthz":
            return _json(200, {"status": "ok", "service": self._service, "version": __version__})
        if path == "/readyz":
            failing = await self.failing()
            status = "ready" if not failing else "not ready"
            return _json(200 if not failing else 503, {"status": status, "failing": failing})
        return _json(404, {"error": "only /healthz, /readyz and /metrics are here"})

    async def failing(self) -> dict[str, str]:
        """Names of the checks that fail, with a short reason each."""
        if not self._started:
            return {"process": "starting or ending"}
        names = list(self._checks)
        results = await asyncio.gather(
            *(asyncio.wait_for(self._checks[name](), CHECK_TIMEOUT_S) for name in names),
            return_exceptions=True,
        )
        return {
            name: type(result).__name__
            for name, result in zip(names, results, strict=True)
            if isinstance(result, BaseException)
        }


class EmbeddedServer(uvicorn.Server):
    """A uvicorn server that is one part of a process, whose signals somebody else handles."""

    def capture_signals(self) -> Any:
        return nullcontext()


def listening_socket(listen_on: str) -> socket.socket:
    """A socket bound to ``listen_on`` (`host:port`; port 0 takes a free one).

    Raises OSError when the port is taken, where uvicorn's own binding would end the process.
    """
    host, _, port = listen_on.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=2048)


def _json(status: int, body: object) -> tuple[int, str, bytes]:
    return status, "application/json", msgspec.json.encode(body)
