"""What every request gets, whatever its route: id, trace, deadline, size limit, metrics, log.

A pure ASGI middleware: Starlette's BaseHTTPMiddleware runs the app in another task, which loses
context variables, and costs more than all of this.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import NamedTuple

import structlog
from prometheus_client import Histogram
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway.errors import http_problem, problem
from im_common.errors import AppError, Code
from im_common.runtime import context, metrics, tracing
from im_common.runtime.addresses import client_address
from im_common.runtime.faults import as_unavailable

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
# Of routes that take more: 20,000 cursors of ids of 19 digits have 1.4 MB.
BODY_BYTES = {"/v1/sync": 2 * 1024 * 1024}
# A body that is too large is read up to here and thrown away: the client is still sending it, and
# only then does it look for the answer. A larger one ends the connection.
MAX_IGNORED_BYTES = 1024 * 1024
REQUESTS = Histogram(
    "im_http_seconds",
    "Time of HTTP requests",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
_REQUEST_ID = context.REQUEST_ID.encode()
# What a browser is told with every answer, unless the route says it itself: to believe the content
# type, to put the answer into no frame, and to tell nobody the address, which may hold an id.
_OF_ALL = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
# What the API says is for its caller alone, and nothing to be shown as a page.
_OF_THE_API = (
    *_OF_ALL,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
FILES_PATH = "/v1/files"
EXPORT_PATH = "/v1/users/me/export"
_IS_HEAD = "im.is_head"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class BodyTooLarge(HTTPException):
    """The body is longer than the route takes."""

    def __init__(self, most: int, *, close: bool) -> None:
        """``close`` ends the connection, as the rest of the body is not read."""
        super().__init__(
            413,
            f"the body may have at most {most} bytes",
            {"Connection": "close"} if close else None,
        )


class NotUnderstood(HTTPException):
    """The body is packed in some way."""

    def __init__(self) -> None:
        super().__init__(
            415,
            "the body must be as it is, without a Content-Encoding",
            {"Accept-Encoding": "identity", "Connection": "close"},
        )


class FileLimits(NamedTuple):
    """What requests about files may take more than others."""

    body_bytes: int
    timeout_s: float


class RequestMiddleware:
    def __init__(
        self, app: ASGIApp, *, timeout_ms: int, trusted_proxies: int, files: FileLimits
    ) -> None:
        """``timeout_ms``: for the whole request; ``trusted_proxies``: see client_address."""
        self._app = app
        self._timeout_s = timeout_ms / 1000
        self._files = files
        self._trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # Answered and counted as GET; the server, which has a scope of its own, sends no body.
            scope = {**scope, "method": "GET", _IS_HEAD: True}
        scope = {**scope, "query_string": _without_empty(scope["query_string"])}
        headers = Headers(scope=scope)
        timeout_s = self._files.timeout_s if _takes_long(scope) else self._timeout_s
        request = context.begin(
            request_id=headers.get(context.REQUEST_ID),
            parent=headers.get(context.TRACEPARENT),
            deadline=time.monotonic() + timeout_s,
            is_from_outside=True,
        )
        span = tracing.serving("http", request, headers.get(context.TRACEPARENT))
        client = scope.get("client")
        request.client_address = client_address(
            str(client[0]) if client else "",
            headers.getlist("x-forwarded-for"),
            self._trusted_proxies,
        )
        answer = _Answer(send, request.request_id, scope["path"])
        started = time.perf_counter()
        try:
            await self._handle(scope, headers, receive, answer, timeout_s)
        finally:
            _observe(scope, answer.status, time.perf_counter() - started)
            if span is not None:
                span.end(_code(answer.status), _name(scope))

    async def _handle(
        self,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        answer: _Answer,
        timeout_s: float,
    ) -> None:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                most = BODY_BYTES.get(scope["path"], MAX_BODY_BYTES)
                if scope["path"] == FILES_PATH and scope["method"] == "POST":
                    most = self._files.body_bytes
                _check_body(headers, most)
                await self._app(scope, _limited(receive, most), answer.send)
                return
        except (BodyTooLarge, NotUnderstood) as error:
            response = http_problem(error.status_code, error.detail, error.headers)
        except Exception as error:
            if answer.status:
                # Half an answer is out: the server closes the connection when this goes up.
                raise
            response = problem(_unexpected(error, scope, timed_out=limit.expired()))
            # The body may be still on its way.
            response.headers["Connection"] = "close"
        await response(scope, receive, answer.send)


def is_head(request: Request) -> bool:
    """Whether only the header of the answer goes out."""
    return _IS_HEAD in request.scope


def _takes_long(scope: Scope) -> bool:
    """Whether much is sent or received."""
    path: str = scope["path"]
    return path in (FILES_PATH, EXPORT_PATH) or path.startswith(FILES_PATH + "/")


class _Answer:
    """Passes the answer on with the request's id, and remembers its status (0: none yet)."""

    def __init__(self, send: Send, request_id: str, path: str) -> None:
        self._send = send
        self._request_id = request_id
        self._protection = _OF_THE_API if path.startswith("/v1/") else _OF_ALL
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            said = {name for name, _ in headers}
            headers.append((_REQUEST_ID, self._request_id.encode()))
            headers.extend(header for header in self._protection if header[0] not in said)
        await self._send(message)


def _without_empty(query: bytes) -> bytes:
    """A parameter without a value is absent."""
    if b"=&" not in query and not query.endswith(b"="):
        return query
    return b"&".join(part for part in query.split(b"&") if part.partition(b"=")[2])


def _check_body(headers: Headers, most: int) -> None:
    encodings = ",".join(headers.getlist("content-encoding")).split(",")
    if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
        raise NotUnderstood
    length = int(headers.get("content-length") or 0)
    if length > most:
        raise BodyTooLarge(most, close=length > MAX_IGNORED_BYTES)


def _limited(receive: Receive, most: int) -> Receive:
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise BodyTooLarge(most, close=not await _ignore_rest(message, received, receive))
        return message

    return limited


async def _ignore_rest(message: Message, received: int, receive: Receive) -> bool:
    """Reads a body to its end and throws it away; False when it goes on after MAX_IGNORED_BYTES."""
    while message.get("more_body", False) and received <= MAX_IGNORED_BYTES:
        message = await receive()
        received += len(message.get("body", b""))
    return not message.get("more_body", False)


def _unexpected(error: Exception, scope: Scope, *, timed_out: bool) -> AppError:
    if timed_out and isinstance(error, TimeoutError):
        return AppError(Code.DEADLINE_EXCEEDED, "the request took too long")
    outage = as_unavailable(error)
    if outage is not None:
        log.warning("a part is away", path=scope["path"], error=repr(error))
        return outage
    metrics.FAULTS.labels("http").inc()
    log.error("unexpected exception", path=scope["path"], exc_info=error)
    return AppError(Code.INTERNAL, "internal error")


def _observe(scope: Scope, status: int, elapsed_s: float) -> None:
    method, route = _known(scope)
    REQUESTS.labels(method, route, status).observe(elapsed_s)
    log.debug("http", method=method, route=route, status=status, ms=round(elapsed_s * 1000, 2))


def _known(scope: Scope) -> tuple[str, str]:
    """Method and route. Both come from the client: only known values become labels."""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    return method, getattr(scope.get("route"), "path", "none")


def _name(scope: Scope) -> str:
    return " ".join(_known(scope))


def _code(status: int) -> str:
    """Of a span: only what is our fault is no answer."""
    return tracing.OK if 0 < status < HTTPStatus.INTERNAL_SERVER_ERROR else f"HTTP {status}"
