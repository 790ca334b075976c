"""The page's style and script: files that `scripts/build-web` has made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from api_gateway.page import MEDIA_TYPES


def _answering(name: str) -> Callable[[Request], Awaitable[Response]]:
    body = files("api_gateway").joinpath("static", name).read_bytes()
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]

    async def answer(_request: Request) -> Response:
        return Response(body, media_type=media_type)

    return answer


FILES = {name: _answering(name) for name in ("admin.css", "admin.js", "icon.svg")}
