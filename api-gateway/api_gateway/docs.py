"""The API's description: /openapi.json, and /docs, a page of our own that needs nothing else."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api_gateway.errors import MEDIA_TYPE
from api_gateway.schemas.base import Problem

DESCRIPTION = """
Access tokens go into `Authorization: Bearer …`. Lists take `limit` and `cursor`, and answer
`{"items": […], "next_cursor": …}`. Errors are RFC 9457 problems with a `code` for programs; a code
that may go away by itself (RATE_LIMITED, UNAVAILABLE, DEADLINE_EXCEEDED) is worth another try.
Times are Unix milliseconds. Messages are received over the WebSocket, `GET /ws/connect`.
""".strip()

# Named once for all routes; describe() puts the reference in its place.
ERRORS: dict[int | str, dict[str, Any]] = {"default": {"description": "Any error."}}

# The page loads nothing from anywhere but /openapi.json.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs", response_class=HTMLResponse)
async def docs_page() -> HTMLResponse:
    page = files("api_gateway").joinpath("docs.html").read_text(encoding="utf-8")
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def describe(openapi: dict[str, Any]) -> dict[str, Any]:
    """Adds the error answer, once, and a reference to it in every operation."""
    components = openapi["components"]
    schema = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    components["schemas"]["Problem"] = schema
    components["responses"] = {
        "Problem": {
            "description": "Any error; 429 has the header Retry-After, 401 WWW-Authenticate.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    for operations in openapi["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    return openapi
