"""Errors as RFC 9457 problems, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from im_common.errors import AppError, Code
from im_common.runtime import context

MEDIA_TYPE = "application/problem+json"
DEFAULT_RETRY_S = 1
NOT_JSON = "the body is not JSON"

# Fields that the API calls by another name than the services.
SPELLINGS = {"query": "q", "to_user_id": "to", "ext_json": "ext", "request_id": "id"}

# What the HTTP layer itself refuses.
_CODES = {
    400: Code.INVALID_ARGUMENT,
    404: Code.NOT_FOUND,
    405: Code.INVALID_ARGUMENT,
    413: Code.PAYLOAD_TOO_LARGE,
}


def problem(error: AppError) -> Response:
    """The answer for ``error``, whichever service it came from."""
    status = error.traits.http
    return _response(
        status,
        error.code,
        error.message,
        headers=_headers(status, error.retry_after_ms),
        field=error.field,
        retry_after_ms=error.retry_after_ms,
    )


def http_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for what the HTTP layer refuses: no such route or method, a body too large."""
    code = _CODES.get(status, Code.INVALID_ARGUMENT if status < 500 else Code.INTERNAL)
    return _response(status, code, detail, headers=dict(headers or {}))


def validation_error(errors: Sequence[Mapping[str, Any]]) -> AppError:
    """INVALID_ARGUMENT for the first of pydantic's ``errors``, with the name of its field."""
    first = errors[0]
    place, *path = first["loc"]
    field = str(path[0]) if path and isinstance(path[0], str) else None
    if first["type"] == "json_invalid":
        field, said = None, NOT_JSON
    elif field is None:
        said = f"the {place} must be a JSON object, sent as application/json"
    else:
        # The value itself may be a secret: pydantic's texts do not hold it.
        text = str(first["msg"]).removeprefix("Value error, ")
        said = f"{field}: {text[:1].lower()}{text[1:]}"
    return AppError(Code.INVALID_ARGUMENT, said, field=field)


def _headers(status: int, retry_after_ms: int | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        if retry_after_ms is not None:
            headers["Retry-After"] = str(max(1, math.ceil(retry_after_ms / 1000)))
        else:
            headers["Retry-After"] = str(DEFAULT_RETRY_S)
    return headers


def _response(
    status: int,
    code: Code,
    detail: str,
    *,
    headers: dict[str, str],
    **more: Any,
) -> Response:
    request = context.current.get()
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code.value,
        "request_id": request.request_id if request else "",
    }
    body |= {name: value for name, value in more.items() if value is not None}
    return Response(msgspec.json.encode(body), status, headers, media_type=MEDIA_TYPE)
