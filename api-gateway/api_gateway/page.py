"""The web client: files that `scripts/build-web` has made, and where its WebSocket is."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from api_gateway.routes.parts import Svc

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
GATEWAY_PORT = 8081
# What a Host header may be to go into a header of ours.
_HOST = re.compile(r"\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+")

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "manifest-src 'self'",
        "connect-src 'self' {gateways}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Nothing in the page makes markup of texts.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One of the client's files, also packed, and the tag that changes with it."""

    media_type: str
    plain: bytes
    packed: bytes
    tag: str


@router.get("/config.json")
async def config(request: Request, svc: Svc) -> JSONResponse:
    gateways = _gateways(request, svc.settings.web.gateways)
    return JSONResponse({"ws": gateways}, headers={"Cache-Control": "no-store"})


@router.get("/")
async def page(request: Request, svc: Svc) -> Response:
    # The page's addresses are relative to the root, whatever proxy is in front.
    gateways = " ".join(_gateways(request, svc.settings.web.gateways))
    return _answer(
        request,
        _files()["index.html"],
        {
            "Content-Security-Policy": _POLICY.format(gateways=gateways),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        },
    )


@cache
def _files() -> dict[str, StaticFile]:
    return {
        file.name: _read(file.name, file.read_bytes())
        for file in files("api_gateway").joinpath("static").iterdir()
        if file.name.rpartition(".")[2] in MEDIA_TYPES
    }


def _read(name: str, plain: bytes) -> StaticFile:
    tag = hashlib.sha256(plain).hexdigest()[:20]
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    return StaticFile(media_type, plain, gzip.compress(plain, 9, mtime=0), tag)


def _gateways(request: Request, named: list[str]) -> list[str]:
    if named:
        return named
    host = request.url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if not _HOST.fullmatch(host):
        host = "localhost"
    scheme = "wss" if request.url.scheme == "https" else "ws"
    return [f"{scheme}://{host}:{GATEWAY_PORT}/ws/connect"]


def _answer(request: Request, file: StaticFile, more: dict[str, str]) -> Response:
    """The file, packed where that is taken, or 304 for who has it already."""
    is_packed = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{file.tag}-gzip"' if is_packed else f'"{file.tag}"'
    headers = {
        **more,
        "ETag": tag,
        "Vary": "Accept-Encoding",
        # Asked for at each visit: a new version is there at once.
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    known = request.headers.get("if-none-match", "")
    if tag in {one.strip().removeprefix("W/") for one in known.split(",")}:
        return Response(status_code=304, headers=headers)
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    body = file.packed if is_packed else file.plain
    return Response(body, media_type=file.media_type, headers=headers)


def _serve(name: str) -> None:
    async def static_file(request: Request) -> Response:
        return _answer(request, _files()[name], {})

    router.add_api_route(f"/{name}", static_file, name=f"static_{name}", methods=["GET"])


for _name in ("app.js", "app.css", "icon.svg", "app.webmanifest"):
    _serve(_name)
