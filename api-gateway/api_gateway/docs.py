"""The API's description: /openapi.json, and /docs, a page of our own that needs nothing else."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api_gateway.errors import MEDIA_TYPE
from api_gateway.examples import add_example
from api_gateway.refusals import MEANINGS, by_status, codes_of
from api_gateway.schemas.base import Problem
from im_common.errors import Code

DESCRIPTION = """
Access tokens go into `Authorization: Bearer …`. Lists take `limit` and `cursor`, and answer
`{"items": […], "next_cursor": …}`. Errors are RFC 9457 problems with a `code` for programs; a code
that may go away by itself (RATE_LIMITED, UNAVAILABLE, DEADLINE_EXCEEDED) is worth another try.
Times are Unix milliseconds. Messages are received over the WebSocket, `GET /ws/connect`.
""".strip()

TAGS = [
    {
        "name": "auth",
        "description": "Accounts, log-ins, sessions, and the keys that verify tokens.",
    },
    {"name": "users", "description": "Profiles, search, and who is online."},
    {"name": "friends", "description": "Requests, friends and blocks."},
    {"name": "groups", "description": "Groups, their members, and who asks to join."},
    {"name": "messages", "description": "Sending, recalling and finding messages."},
    {"name": "files", "description": "Uploads, and downloads for those who may see them."},
    {"name": "conversations", "description": "What was written where, and how far it was read."},
]

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
    """Adds the errors of each operation, and the examples."""
    components = openapi["components"]
    schema = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    components["schemas"]["Problem"] = schema
    components["responses"] = {
        "Problem": {
            "description": "What the HTTP layer itself refuses: 405 for a method that the route does "
            "not have, 408 for a request that does not go on, 415 for a packed body, 431 for a long "
            "header.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    for operations in openapi["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            for status, codes in by_status(codes_of(operation)).items():
                answers[str(status)] = _refused(codes)
            answers["default"] = {"$ref": "#/components/responses/Problem"}
            add_example(operation)
    return openapi


def _refused(codes: list[Code]) -> dict[str, Any]:
    described = "\n".join(f"- `{code}`: {MEANINGS[code]}" for code in codes)
    narrowed = {"properties": {"code": {"enum": [code.value for code in codes]}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]}
    return {"description": described, "content": {MEDIA_TYPE: {"schema": schema}}}
