"""The API's description: complete, valid, and shown without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest_asyncio
from fastapi.openapi.models import OpenAPI

from api_gateway.examples import EXAMPLES
from api_gateway.refusals import REFUSALS
from im_common.errors import TABLE, Code

# A fixture's class, of conftest.py, which tests do not import.
Gateway = Any

ROUTES = {
    "POST /v1/auth/register": "register",
    "POST /v1/auth/login": "login",
    "POST /v1/auth/refresh": "refresh",
    "POST /v1/auth/logout": "logout",
    "POST /v1/auth/password": "change_password",
    "GET /v1/auth/sessions": "list_sessions",
    "DELETE /v1/auth/sessions": "revoke_other_sessions",
    "DELETE /v1/auth/sessions/{session_id}": "revoke_session",
    "GET /v1/users/me": "get_me",
    "PATCH /v1/users/me": "update_me",
    "GET /v1/users/me/export": "export_me",
    "DELETE /v1/users/me": "delete_me",
    "GET /v1/users/{user_id}": "get_user",
    "GET /v1/users": "search_users",
    "GET /v1/users/online": "get_online",
    "POST /v1/friends/requests": "send_friend_request",
    "GET /v1/friends/requests": "list_friend_requests",
    "DELETE /v1/friends/requests/{id}": "cancel_friend_request",
    "POST /v1/friends/requests/{id}/accept": "accept_friend_request",
    "POST /v1/friends/requests/{id}/reject": "reject_friend_request",
    "GET /v1/friends": "list_friends",
    "DELETE /v1/friends/{user_id}": "delete_friend",
    "PATCH /v1/friends/{user_id}": "set_remark",
    "GET /v1/blocks": "list_blocked_users",
    "PUT /v1/blocks/{user_id}": "block_user",
    "DELETE /v1/blocks/{user_id}": "unblock_user",
    "POST /v1/groups": "create_group",
    "GET /v1/groups": "list_my_groups",
    "GET /v1/groups/{group_id}": "get_group",
    "PATCH /v1/groups/{group_id}": "update_group",
    "DELETE /v1/groups/{group_id}": "dismiss_group",
    "GET /v1/groups/{group_id}/members": "list_members",
    "POST /v1/groups/{group_id}/members": "invite_members",
    "DELETE /v1/groups/{group_id}/members/{user_id}": "remove_member",
    "PATCH /v1/groups/{group_id}/members/{user_id}": "change_member",
    "POST /v1/groups/{group_id}/join": "join_group",
    "POST /v1/groups/{group_id}/leave": "leave_group",
    "POST /v1/groups/{group_id}/transfer": "transfer_ownership",
    "POST /v1/groups/{group_id}/mute": "mute_group",
    "GET /v1/groups/{group_id}/requests": "list_join_requests",
    "POST /v1/groups/{group_id}/requests/{id}/accept": "accept_join_request",
    "POST /v1/groups/{group_id}/requests/{id}/reject": "reject_join_request",
    "GET /v1/groups/{group_id}/readers": "list_readers",
    "POST /v1/messages": "send_message",
    "POST /v1/messages/{message_id}/recall": "recall_message",
    "GET /v1/messages/search": "search_messages",
    "GET /v1/conversations": "list_conversations",
    "GET /v1/conversations/{conversation_id}/messages": "get_history",
    "POST /v1/conversations/{conversation_id}/read": "mark_as_read",
    "GET /v1/unread": "get_unread",
    "POST /v1/sync": "sync",
    "POST /v1/files": "upload_file",
    "GET /v1/files/{file_id}": "get_file",
    "GET /v1/files/{file_id}/thumbnail": "get_thumbnail",
    "GET /.well-known/jwks.json": "get_jwks",
}
PUBLIC = {
    "POST /v1/auth/register",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "GET /.well-known/jwks.json",
}

# What came out is told by the status, too.
# All of a file, or a part.
BYTES = {"GET /v1/files/{file_id}", "GET /v1/files/{file_id}/thumbnail"}
TWO_OUTCOMES = {"POST /v1/friends/requests", *BYTES}


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
        assert operation["tags"][0] in {tag["name"] for tag in api["tags"]}, route
        statuses = {status for status in operation["responses"] if status[0] == "2"}
        assert len(statuses) == (2 if route in TWO_OUTCOMES else 1), route
        for status in statuses:
            if route in (*BYTES, "GET /v1/users/me/export"):
                continue
            assert status in ("200", "201", "204"), route
            described = operation["responses"][status].get("content")
            assert (described is None) == (status == "204"), route
            if described:
                assert described["application/json"]["schema"], route


async def test_the_ids_of_operations_stay_as_code_is_generated_from_them(api: Any) -> None:
    ids = {route: operation["operationId"] for route, operation in operations(api).items()}
    assert ids == ROUTES


async def test_every_route_names_each_error_by_status_and_code(api: Any) -> None:
    for route, operation in operations(api).items():
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        refused = {
            status: answer for status, answer in operation["responses"].items() if status[0] in "45"
        }
        assert {"400", "429", "500", "503", "504"} <= set(refused), route
        assert ("401" in refused) >= (route not in PUBLIC), route
        for status, answer in refused.items():
            [(kind, content)] = answer["content"].items()
            assert kind == "application/problem+json"
            codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
            for code in codes:
                assert str(TABLE[Code(code)].http) == status, (route, code)
                assert f"`{code}`" in answer["description"]
    content = api["components"]["responses"]["Problem"]["content"]
    assert list(content) == ["application/problem+json"]
    assert "ValidationError" not in str(api)


async def test_no_refusal_is_declared_for_what_is_no_operation(api: Any) -> None:
    ids = {operation["operationId"] for operation in operations(api).values()}
    assert set(REFUSALS) <= ids
    assert set(EXAMPLES) <= ids


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
