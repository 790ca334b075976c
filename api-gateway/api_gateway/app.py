"""The ASGI application: routes, errors, middleware."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Match

from api_gateway import __version__, docs, page
from api_gateway.errors import NOT_JSON, SPELLINGS, http_problem, problem, validation_error
from api_gateway.files.upload import FRAMING_BYTES
from api_gateway.middleware import FileLimits, RequestMiddleware
from api_gateway.rates import RateMiddleware
from api_gateway.routes import ROUTERS
from api_gateway.routes.parts import unless_refused
from api_gateway.svc import ServiceContext
from im_common.errors import AppError, Code
from im_common.runtime import context


class Api(FastAPI):
    def openapi(self) -> dict[str, object]:
        if not self.openapi_schema:
            self.openapi_schema = docs.describe(super().openapi())
        return self.openapi_schema


def build_app(svc: ServiceContext) -> FastAPI:
    routers = [*ROUTERS, docs.router, *([page.router] if svc.settings.web.enabled else [])]
    app = Api(
        title="Instant messaging",
        version=__version__,
        description=docs.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=docs.TAGS,
        routes=[route for router in routers for route in router.routes],
    )
    app.state.svc = svc
    _handle_errors(app)
    _add_middleware(app, svc)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(AppError)
    async def on_app_error(request: Request, error: AppError) -> Response:
        return problem(await unless_refused(request, error.respelled(SPELLINGS)))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return problem(await unless_refused(request, validation_error(error.errors())))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:
            # What FastAPI cannot read at all.
            unread = AppError(Code.INVALID_ARGUMENT, NOT_JSON)
            return problem(await unless_refused(request, unread))
        if error.status_code == 404:
            return http_problem(404, "there is no such route")
        if error.status_code == 405:
            allowed = _allowed_methods(request) or [(error.headers or {}).get("Allow", "")]
            allow = {"Allow": ", ".join(allowed)}
            return http_problem(405, "the route has no such method", allow)
        return http_problem(error.status_code, error.detail, error.headers)


def _allowed_methods(request: Request) -> list[str]:
    # Starlette's own Allow names the methods of the first route with this path only.
    methods: set[str] = set()
    for router in ROUTERS:
        for route in router.routes:
            if route.matches(request.scope)[0] is not Match.NONE:
                methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


def _add_middleware(app: FastAPI, svc: ServiceContext) -> None:
    if svc.limiter is not None:
        app.add_middleware(RateMiddleware, limiter=svc.limiter)
    http, files = svc.settings.http, svc.settings.files
    app.add_middleware(
        RequestMiddleware,
        timeout_ms=http.timeout,
        trusted_proxies=http.trusted_proxies,
        files=FileLimits(files.max_bytes + FRAMING_BYTES, files.timeout / 1000),
    )
    if http.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=http.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "Range",
                "If-Range",
                "If-None-Match",
                context.REQUEST_ID,
                "traceparent",
            ],
            expose_headers=[
                context.REQUEST_ID,
                "Retry-After",
                "RateLimit",
                "RateLimit-Policy",
                "Idempotency-Replayed",
                "ETag",
                "Content-Range",
                "Content-Disposition",
            ],
            max_age=3600,
        )
