"""The API's description: complete, valid, and shown without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest_asyncio
from fastapi.openapi.models import OpenAPI

# A fixture's class, of conftest.py, which tests do not import.
Gateway = Any

ROUTES = [
    "POST /v1/auth/register",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "POST /v1/auth/logout",
    "POST /v1/auth/password",
    "GET /v1/auth/sessions",
    "DELETE /v1/auth/sessions",
    "DELETE /v1/auth/sessions/{session_id}",
    "GET /v1/users/me",
    "PATCH /v1/users/me",
    "GET /v1/users/{user_id}",
    "GET /v1/users",
    "GET /v1/users/online",
    "POST /v1/friends/requests",
    "GET /v1/friends/requests",
    "DELETE /v1/friends/requests/{id}",
    "POST /v1/friends/requests/{id}/accept",
    "POST /v1/friends/requests/{id}/reject",
    "GET /v1/friends",
    "DELETE /v1/friends/{user_id}",
    "PATCH /v1/friends/{user_id}",
    "GET /v1/blocks",
    "PUT /v1/blocks/{user_id}",
    "DELETE /v1/blocks/{user_id}",
    "POST /v1/groups",
    "GET /v1/groups",
    "GET /v1/groups/{group_id}",
    "PATCH /v1/groups/{group_id}",
    "DELETE /v1/groups/{group_id}",
    "GET /v1/groups/{group_id}/members",
    "POST /v1/groups/{group_id}/members",
    "DELETE /v1/groups/{group_id}/members/{user_id}",
    "PATCH /v1/groups/{group_id}/members/{user_id}",
    "POST /v1/groups/{group_id}/join",
    "POST /v1/groups/{group_id}/leave",
    "POST /v1/groups/{group_id}/transfer",
    "POST /v1/groups/{group_id}/mute",
    "GET /v1/groups/{group_id}/requests",
    "POST /v1/groups/{group_id}/requests/{id}/accept",
    "POST /v1/groups/{group_id}/requests/{id}/reject",
    "GET /v1/groups/{group_id}/readers",
    "POST /v1/messages",
    "POST /v1/messages/{message_id}/recall",
    "GET /v1/messages/search",
    "GET /v1/conversations",
    "GET /v1/conversations/{conversation_id}/messages",
    "POST /v1/conversations/{conversation_id}/read",
    "GET /v1/unread",
    "POST /v1/sync",
    "GET /.well-known/jwks.json",
]
PUBLIC = {
    "POST /v1/auth/register",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "GET /.well-known/jwks.json",
}

# What came out is told by the status, too.
TWO_OUTCOMES = {"POST /v1/friends/requests"}


@pytest_asyncio.fixture(loop_scope="session")
async def api(gateway: Gateway) -> Any:
    response = await gateway.anonymous("GET", "/openapi.json")
    assert response.status_code == 200
    return response.json()


def operations(api: Any) -> dict[str, Any]:
    return {
        f"{verb.upper()} {path}": operation
        for path, verbs in api["paths"].items()
        for verb, operation in verbs.items()
    }


async def test_every_route_is_described_and_no_other(api: Any) -> None:
    assert sorted(operations(api)) == sorted(ROUTES)


async def test_it_is_valid_openapi_whose_references_lead_somewhere(api: Any) -> None:
    OpenAPI.model_validate(api)
    assert api["openapi"].startswith("3.1")
    for reference in _references(api):
        target = api
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


async def test_every_route_says_what_it_is_for_and_what_it_answers(api: Any) -> None:
    for route, operation in operations(api).items():
        assert operation["summary"], route
        statuses = set(operation["responses"]) - {"default"}
        assert len(statuses) == (2 if route in TWO_OUTCOMES else 1), route
        for status in statuses:
            assert status in ("200", "201", "204"), route
            described = operation["responses"][status].get("content")
            assert (described is None) == (status == "204"), route
            if described:
                assert described["application/json"]["schema"], route


async def test_every_route_names_the_one_error_answer(api: Any) -> None:
    for route, operation in operations(api).items():
        problem = operation["responses"]["default"]
        assert problem == {"$ref": "#/components/responses/Problem"}, route
    content = api["components"]["responses"]["Problem"]["content"]
    assert list(content) == ["application/problem+json"]
    assert "ValidationError" not in str(api)


async def test_the_routes_that_need_a_token_say_so(api: Any) -> None:
    schemes = api["components"]["securitySchemes"]
    assert schemes["bearer"]["type"] == "http"
    assert schemes["bearer"]["scheme"] == "bearer"
    for route, operation in operations(api).items():
        expected: Any = None if route in PUBLIC else [{"bearer": []}]
        assert operation.get("security") == expected, route


async def test_the_page_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    response = await gateway.anonymous("GET", "/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert re.findall(r"""(?:https?:)?//[\w.]+\.\w+""", response.text) == []
    assert re.findall(r"""<(?:script|img|iframe)[^>]+src=|@import|url\(""", response.text) == []
    assert 'fetch("openapi.json")' in response.text


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
