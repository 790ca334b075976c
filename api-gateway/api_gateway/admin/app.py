"""The page as an ASGI application of its own: nothing of it is in the API or its description."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway.admin import views
from api_gateway.admin.guard import SECURITY, is_from_elsewhere
from api_gateway.admin.pages import PREFIX, refusal
from api_gateway.admin.sessions import NotSignedIn, Sessions, signed_out
from api_gateway.rates import RateLimiter
from im_admin.operator import Operator, Ways
from im_admin.overview import Overview
from im_common.errors import AppError, Code
from im_common.runtime import context, metrics
from im_common.runtime.addresses import client_address
from im_common.runtime.faults import as_unavailable

__all__ = ["PREFIX", "build_page"]

log = structlog.get_logger(__name__)

# An operator waits longer than a client.
_WITHIN_S = 30.0


def build_page(ways: Ways, limiter: RateLimiter | None) -> ASGIApp:
    """``limiter``: None where rates are not limited."""
    app = Starlette(
        routes=views.ROUTES,
        exception_handlers={AppError: _on_app_error, NotSignedIn: _on_not_signed_in},
    )
    app.state.ways = ways
    app.state.sessions = Sessions(ways, limiter)
    app.state.overview = Overview(Operator(ways, "overview"))
    return PageMiddleware(app)


async def _on_app_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    return refusal(error.traits.http, error.message)


async def _on_not_signed_in(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotSignedIn)
    return signed_out(request, error)


class PageMiddleware:
    """What each request gets: its context, the check that no other site has sent it, the headers that
    protect it, and a page for what goes wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        request = context.begin(deadline=time.monotonic() + _WITHIN_S, is_from_outside=True)
        request.client_address = client_address(str(client[0]) if client else "", (), 0)
        began = False

        async def protected(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = [*message.get("headers", ()), *SECURITY]
            await send(message)

        try:
            if is_from_elsewhere(Request(scope)):
                answer = refusal(HTTPStatus.FORBIDDEN, "This came from another site.")
                await answer(scope, receive, protected)
                return
            async with asyncio.timeout(_WITHIN_S):
                await self._app(scope, receive, protected)
        except Exception as error:
            if began:
                raise
            found = _unexpected(error, scope)
            await refusal(found.traits.http, found.message)(scope, receive, protected)


def _unexpected(error: Exception, scope: Scope) -> AppError:
    if isinstance(error, TimeoutError):
        return AppError(Code.DEADLINE_EXCEEDED, "it took too long")
    outage = as_unavailable(error)
    if outage is not None:
        log.warning("a part is away", path=scope["path"], error=repr(error))
        return outage
    metrics.FAULTS.labels("admin").inc()
    log.error("unexpected exception", path=scope["path"], exc_info=error)
    return AppError(Code.INTERNAL, "internal error")
