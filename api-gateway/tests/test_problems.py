"""How errors reach the client."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from im.chat.v1.chat_pb2 import SyncResponse
from im.friend.v1.friend_pb2 import ListFriendsResponse
from im.user.v1.user_pb2 import GetProfileResponse
from im_common.errors import TABLE, AppError, Code, invalid

# A fixture's class, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

DESCRIBED = ["SearchMessages", "SearchUsers", "SendMessage", "GetOnlineUsers", "InviteMembers"]
DESCRIBED += ["AcceptFriendRequest"]
LOGIN = {"username": "ann", "password": "correct horse"}


def assert_problem(response: Any, status: int, code: Code, field: str | None = None) -> Any:
    """The body, which must be a whole problem with the request's id."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["code"] == code.value
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert body.get("field") == field
    return body


@pytest.mark.parametrize("code", list(Code))
async def test_each_code_of_a_service_has_its_status(gateway: Gateway, code: Code) -> None:
    gateway.services.answers["GetProfile"] = AppError(code, "that is how it is", field="name")
    response = await gateway.request("GET", "/v1/users/me")
    body = assert_problem(response, TABLE[code].http, code, "name")
    assert body["detail"] == "that is how it is"
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    assert ("retry-after" in response.headers) == (response.status_code in (429, 503))


@pytest.mark.parametrize(
    ("retry_after_ms", "seconds"), [(None, "1"), (1, "1"), (1000, "1"), (1001, "2"), (0, "1")]
)
async def test_429_always_says_when_to_come_back(
    gateway: Gateway, retry_after_ms: int | None, seconds: str
) -> None:
    error = AppError(Code.RATE_LIMITED, "slow down", retry_after_ms=retry_after_ms)
    gateway.services.answers["Login"] = error
    response = await gateway.anonymous("POST", "/v1/auth/login", json=LOGIN)
    body = assert_problem(response, 429, Code.RATE_LIMITED)
    assert response.headers["retry-after"] == seconds
    assert body.get("retry_after_ms") == retry_after_ms


async def test_503_says_when_to_come_back_if_that_is_known(gateway: Gateway) -> None:
    gateway.services.answers["GetProfile"] = AppError(Code.UNAVAILABLE, "full", retry_after_ms=2500)
    response = await gateway.request("GET", "/v1/users/me")
    assert_problem(response, 503, Code.UNAVAILABLE)
    assert response.headers["retry-after"] == "3"


async def test_a_fault_of_a_service_shows_nothing_of_its_text(gateway: Gateway) -> None:
    async def fail(_message: object) -> Any:
        raise RuntimeError("the secret is swordfish")

    gateway.services.answers["GetProfile"] = fail
    response = await gateway.request("GET", "/v1/users/me")
    assert_problem(response, 500, Code.INTERNAL)
    assert "swordfish" not in response.text


async def test_a_fault_of_the_gateway_shows_nothing_of_its_text(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("the secret is swordfish")

    monkeypatch.setattr("api_gateway.routes.users.Me.of_profile", fail)
    gateway.services.answers["GetProfile"] = GetProfileResponse()
    response = await gateway.request("GET", "/v1/users/me")
    assert_problem(response, 500, Code.INTERNAL)
    assert "swordfish" not in response.text


async def test_a_route_without_its_token_calls_nobody(gateway: Gateway) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        response = await gateway.anonymous("GET", "/v1/users/me", headers=headers)
        assert_problem(response, 401, Code.UNAUTHENTICATED)
        assert response.headers["www-authenticate"] == "Bearer"
    assert gateway.services.calls == []


@pytest.mark.parametrize("token", [b"sn\xf6w", b"x" * 5000, b"a\x01b"])
async def test_a_token_that_no_service_could_take_is_refused_at_once(
    gateway: Gateway, token: bytes
) -> None:
    headers = {b"Authorization": b"Bearer " + token}
    response = await gateway.anonymous("GET", "/v1/users/me", headers=headers)
    assert response.status_code in (400, 401)
    assert gateway.services.calls == []


@pytest.mark.parametrize(
    ("verb", "path", "content"),
    [
        ("POST", "/v1/messages", b"{}"),
        ("POST", "/v1/messages", b"{"),
        ("POST", "/v1/messages", b'{"content":"\xff"}'),
        ("PATCH", "/v1/users/me", b"[]"),
        ("GET", "/v1/users/x", b""),
        ("GET", "/v1/messages/search", b""),
        ("GET", "/v1/conversations/x/messages", b""),
    ],
)
async def test_whose_token_is_not_good_is_told_so_before_what_else_is_wrong(
    gateway: Gateway, token_of: Callable[[int], str], verb: str, path: str, content: bytes
) -> None:
    # Well signed, but its session is over.
    ended = token_of(7)
    for token, code in (("x.y.z", Code.UNAUTHENTICATED), (ended, Code.SESSION_REVOKED)):
        headers = {"Authorization": f"Bearer {token}"}
        response = await gateway.anonymous(verb, path, content=content, headers=headers)
        assert_problem(response, 401, code)
    assert_problem(await gateway.anonymous(verb, path, content=content), 401, Code.UNAUTHENTICATED)
    response = await gateway.request(verb, path, content=content)
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_ARGUMENT")


async def test_an_unknown_route_is_not_found(gateway: Gateway) -> None:
    for path in ("/v1", "/v1/nothing", "/v1/users/me/", "/healthz", "/v1/messages/a/b/c"):
        response = await gateway.request("GET", path)
        assert_problem(response, 404, Code.NOT_FOUND)


async def test_head_answers_as_get_without_the_body(gateway: Gateway) -> None:
    for path in ("/v1/users/me", "/docs", "/openapi.json", "/v1/nothing"):
        asked = [await gateway.request(method, path) for method in ("GET", "HEAD")]
        with_body, without = asked
        assert without.status_code == with_body.status_code
        assert without.headers["content-length"] == with_body.headers["content-length"]
        assert (bool(with_body.content), without.content) == (True, b"")
    assert (await gateway.request("HEAD", "/v1/auth/login")).status_code == 405


async def test_a_wrong_method_names_the_right_ones(gateway: Gateway) -> None:
    response = await gateway.request("PUT", "/v1/users/me")
    assert_problem(response, 405, Code.INVALID_ARGUMENT)
    assert response.headers["allow"] == "DELETE, GET, PATCH"
    response = await gateway.request("GET", "/v1/auth/login")
    assert_problem(response, 405, Code.INVALID_ARGUMENT)
    assert response.headers["allow"] == "POST"
    assert (await gateway.request("DELETE", "/docs")).headers["allow"] == "GET"


@pytest.mark.parametrize(
    "body", [b"{", b"nonsense", b'{"username": "ann",}', b"\xff\xfe", b"[" * 60_000, b"9" * 5_000]
)
async def test_a_body_that_is_no_json_is_refused(gateway: Gateway, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = await gateway.anonymous("POST", "/v1/auth/login", content=body, headers=headers)
    assert_problem(response, 400, Code.INVALID_ARGUMENT)
    assert response.json()["detail"] == "the body is not JSON"


@pytest.mark.parametrize("body", [b"[]", b'"ann"', b"17", b"null", b""])
async def test_a_body_that_is_no_object_is_refused(gateway: Gateway, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = await gateway.anonymous("POST", "/v1/auth/login", content=body, headers=headers)
    assert_problem(response, 400, Code.INVALID_ARGUMENT)


async def test_a_form_is_no_json(gateway: Gateway) -> None:
    response = await gateway.anonymous("POST", "/v1/auth/login", data=LOGIN)
    body = assert_problem(response, 400, Code.INVALID_ARGUMENT)
    assert "application/json" in body["detail"]


async def test_a_field_that_is_missing_or_of_a_wrong_type_is_named(gateway: Gateway) -> None:
    wrong: list[tuple[Any, str]] = [
        ({"password": "x"}, "username"),
        ({"username": "ann"}, "password"),
        (LOGIN | {"username": 17}, "username"),
        (LOGIN | {"username": None}, "username"),
        (LOGIN | {"password": ["x"]}, "password"),
        (LOGIN | {"device_id": 5}, "device_id"),
        (LOGIN | {"platform": {"os": "ios"}}, "platform"),
    ]
    for body, field in wrong:
        response = await gateway.anonymous("POST", "/v1/auth/login", json=body)
        problem = assert_problem(response, 400, Code.INVALID_ARGUMENT, field)
        assert field in problem["detail"]
    assert gateway.services.calls == []


async def test_what_was_wrong_is_not_repeated(gateway: Gateway) -> None:
    body = {"username": "ann", "password": 987654321}
    response = await gateway.anonymous("POST", "/v1/auth/login", json=body)
    assert_problem(response, 400, Code.INVALID_ARGUMENT, "password")
    assert "987654321" not in response.text


def _nested(depth: int) -> dict[str, Any]:
    return {"in": _nested(depth - 1)} if depth else {}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_number_that_is_none_is_refused(gateway: Gateway, number: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = f'{{"ext": {{"n": [{number}]}}}}'
    response = await gateway.request("PATCH", "/v1/users/me", content=body, headers=headers)
    assert_problem(response, 400, Code.INVALID_ARGUMENT, "ext")


@pytest.mark.parametrize("depth", [100, 1_000, 9_000])
async def test_a_body_of_any_depth_is_a_problem_and_no_fault(gateway: Gateway, depth: int) -> None:
    headers = {"Content-Type": "application/json"}
    body = '{"ext": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    response = await gateway.request("PATCH", "/v1/users/me", content=body, headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("verb", "path", "body", "field"),
    [
        ("GET", "/v1/users/bob", None, "user_id"),
        ("GET", "/v1/users/0", None, "user_id"),
        ("GET", f"/v1/users/{2**63}", None, "user_id"),
        ("GET", "/v1/users", None, "q"),
        ("GET", "/v1/users?q=", None, "q"),
        ("GET", "/v1/users?q=bo&limit=0", None, "limit"),
        ("GET", "/v1/users?q=bo&limit=101", None, "limit"),
        ("GET", "/v1/users?q=bo&limit=many", None, "limit"),
        ("GET", "/v1/users/online", None, "ids"),
        ("GET", "/v1/users/online?ids=", None, "ids"),
        ("GET", "/v1/users/online?ids=1,,2", None, "ids"),
        ("GET", "/v1/users/online?ids=1,x", None, "ids"),
        ("GET", "/v1/users/online?ids=0", None, "ids"),
        ("GET", f"/v1/users/online?ids={'9' * 19}", None, "ids"),
        ("GET", "/v1/users/online?ids=" + ",".join(["1"] * 1001), None, "ids"),
        ("PATCH", "/v1/users/me", {"nickname": None}, None),
        *(
            ("GET", f"/v1/users/{id}", None, "user_id")
            for id in ("01044", "+1044", "1_044", "%201")
        ),
        *(
            ("GET", f"/v1/users/{id}", None, "user_id")
            for id in ("1044.0", "٣", "1e3", "-1", "0x1")
        ),
        *(("PUT", f"/v1/blocks/{id}", None, "user_id") for id in ("01044", "+1044", "1_044")),
        *(("GET", f"/v1/groups/{id}", None, "group_id") for id in ("01044", "+1044", "1_044")),
        *(
            ("GET", f"/v1/users/online?ids=1,{id}", None, "ids")
            for id in ("01", "%2B1", "1_0", "٣")
        ),
        *(("GET", f"/v1/users?q=a&limit={n}", None, "limit") for n in ("01", "%2B1", "1_0", "1.0")),
        ("GET", "/v1/conversations/g:1/messages?after_seq=01", None, "after_seq"),
        ("GET", "/v1/conversations/g:1/messages?after_seq=-1", None, "after_seq"),
        ("GET", "/v1/conversations/g:01/messages", None, "conversation_id"),
        ("GET", "/v1/messages/search?q=", None, "q"),
        ("POST", "/v1/messages", {"to": 2, "content": None}, "content"),
        ("POST", "/v1/messages", {"to": 2, "content": "x", "content_type": ""}, "content_type"),
        ("POST", "/v1/messages", {"to": 2, "content": "x", "reply_to": ""}, "reply_to"),
        ("POST", "/v1/messages", {"to": 2, "content": "x", "client_msg_id": 7}, "client_msg_id"),
        ("POST", "/v1/auth/login", {"username": None, "password": "x"}, "username"),
        ("POST", "/v1/sync", {"cursors": {f"g:{n}": 0 for n in range(20_001)}}, "cursors"),
        ("PATCH", "/v1/users/me", {"gender": "MALE"}, "gender"),
        ("PATCH", "/v1/users/me", {"presence_hidden": "yes"}, "presence_hidden"),
        ("PATCH", "/v1/users/me", {"ext": [1]}, "ext"),
        ("PATCH", "/v1/users/me", {"ext": {"n": 10**400}}, "ext"),
        ("PATCH", "/v1/users/me", {"ext": _nested(17)}, "ext"),
        ("PATCH", "/v1/users/me", {"ext": {"n": [2**53]}}, "ext"),
        ("PATCH", "/v1/users/me", {}, None),
        ("PATCH", "/v1/users/me", {"username": "other"}, None),
        ("POST", "/v1/friends/requests", {"user_id": "1002"}, "user_id"),
        ("POST", "/v1/friends/requests", {"user_id": 1002.5}, "user_id"),
        ("POST", "/v1/friends/requests", {"user_id": True}, "user_id"),
        ("POST", "/v1/friends/requests", {"user_id": 2**63}, "user_id"),
        ("GET", "/v1/friends/requests?direction=up", None, "direction"),
        ("POST", "/v1/friends/requests/x/accept", None, "id"),
        ("PUT", "/v1/blocks/me", None, "user_id"),
        ("POST", "/v1/groups", {"name": "x", "member_ids": [1, "2"]}, "member_ids"),
        ("POST", "/v1/groups", {"name": "x", "join_policy": "closed"}, "join_policy"),
        ("PATCH", "/v1/groups/1001", {}, None),
        ("POST", "/v1/groups/1001/members", {"user_ids": []}, "user_ids"),
        ("PATCH", "/v1/groups/1001/members/2", {}, None),
        ("PATCH", "/v1/groups/1001/members/2", {"role": "owner"}, "role"),
        ("PATCH", "/v1/groups/1001/members/2", {"muted_until": -1}, "muted_until"),
        ("PATCH", "/v1/groups/1001/members/2", {"role": "admin", "nickname": "x"}, "nickname"),
        ("PATCH", "/v1/groups/1001/members/2", {"muted_until": 0, "nickname": ""}, "nickname"),
        ("POST", "/v1/groups/1001/mute", {"muted": 1}, "muted"),
        ("POST", "/v1/messages", {"content": "x"}, "to"),
        ("POST", "/v1/messages", {"content": "x", "to": 2, "group_id": 3}, "to"),
        ("POST", "/v1/messages", {"to": 2}, "content"),
        ("POST", "/v1/messages", {"to": 2, "content": 5}, "content"),
        ("POST", "/v1/messages", {"to": 2, "content": "x", "ext": "y"}, "ext"),
        *(
            ("POST", "/v1/messages", {"to": 2, "content": "x", "mentions": given}, "mentions")
            for given in (["y"], "y", [0], [True], 7, ["all", "y"], "")
        ),
        ("POST", "/v1/messages", {"to": 2, "content": "x", "client_msg_id": ""}, "client_msg_id"),
        ("POST", "/v1/sync", {"cursors": {"s:1:2": "3"}}, "cursors"),
        ("POST", "/v1/sync", {"limit": 501}, "limit"),
        ("POST", "/v1/conversations/s:1001:1002/read", {"seq": -1}, "seq"),
        ("POST", "/v1/conversations/s:1001/read", {"seq": 1}, "conversation_id"),
    ],
)
async def test_what_cannot_be_meant_is_refused_without_a_call(
    gateway: Gateway, verb: str, path: str, body: Any, field: str | None
) -> None:
    response = await gateway.request(verb, path, **({} if body is None else {"json": body}))
    assert_problem(response, 400, Code.INVALID_ARGUMENT, field)
    assert gateway.services.calls == []


@pytest.mark.parametrize("field", ["content", "client_msg_id", "reply_to"])
async def test_half_a_character_is_refused(gateway: Gateway, field: str) -> None:
    body = json.dumps({"to": 2, "content": "x", field: "\ud800"})
    headers = {"Content-Type": "application/json"}
    response = await gateway.request("POST", "/v1/messages", content=body, headers=headers)
    assert_problem(response, 400, Code.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("verb", "path", "body", "ours", "theirs"),
    [
        ("GET", "/v1/messages/search?q=x", None, "query", "q"),
        ("GET", "/v1/users?q=x", None, "query", "q"),
        ("POST", "/v1/messages", {"to": 2, "content": "x"}, "to_user_id", "to"),
        ("POST", "/v1/messages", {"to": 2, "content": "x"}, "ext_json", "ext"),
        ("POST", "/v1/messages", {"to": 2, "content": "x"}, "ext_json.size", "ext.size"),
        ("GET", "/v1/users/online?ids=1", None, "user_ids", "ids"),
        ("POST", "/v1/groups/1001/members", {"user_ids": [1]}, "user_ids", "user_ids"),
        ("POST", "/v1/friends/requests/1/accept", None, "request_id", "id"),
    ],
)
async def test_a_field_is_named_as_the_caller_spelled_it(
    gateway: Gateway, verb: str, path: str, body: Any, ours: str, theirs: str
) -> None:
    async def refuse(_message: object) -> Any:
        raise invalid(ours, "must be another one")

    for method in DESCRIBED:
        gateway.services.answers[method] = refuse
    response = await gateway.request(verb, path, **({} if body is None else {"json": body}))
    problem = assert_problem(response, 400, Code.INVALID_ARGUMENT, theirs)
    assert problem["detail"] == f"{theirs} must be another one"


@pytest.mark.parametrize("encoding", ["gzip", "br", "x", "identity, gzip", "GZIP"])
async def test_a_body_that_is_packed_is_not_understood(gateway: Gateway, encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    response = await gateway.anonymous("POST", "/v1/auth/login", content=b"{}", headers=headers)
    assert_problem(response, 415, Code.INVALID_ARGUMENT)
    assert response.headers["accept-encoding"] == "identity"


async def test_a_body_that_is_not_packed_may_say_so(gateway: Gateway) -> None:
    headers = {"Content-Encoding": "identity"}
    response = await gateway.anonymous("POST", "/v1/auth/login", json={}, headers=headers)
    assert_problem(response, 400, Code.INVALID_ARGUMENT, "username")


async def test_20_000_cursors_are_taken(gateway: Gateway) -> None:
    gateway.services.answers["Sync"] = SyncResponse()
    most = 2**63 - 1
    cursors = {f"s:{most - 1 - n}:{most}": most for n in range(20_000)}
    response = await gateway.request("POST", "/v1/sync", json={"cursors": cursors})
    assert response.status_code == 200, response.text
    assert gateway.services.last.message.cursors == cursors


async def test_fields_that_nobody_knows_are_ignored(gateway: Gateway) -> None:
    gateway.services.answers["Login"] = AppError(Code.INVALID_CREDENTIALS, "no")
    response = await gateway.anonymous("POST", "/v1/auth/login", json=LOGIN | {"colour": "red"})
    assert_problem(response, 401, Code.INVALID_CREDENTIALS)


async def test_a_service_that_is_down_takes_its_own_routes_with_it_only(
    start: Start, one_more: Any
) -> None:
    async with AsyncExitStack() as up:
        friends = await up.enter_async_context(one_more())
        async with start(sections={"friend_rpc": friends}) as gateway:
            gateway.services.answers["ListFriends"] = ListFriendsResponse()
            gateway.services.answers["GetProfile"] = GetProfileResponse()
            assert (await gateway.request("GET", "/v1/friends")).status_code == 200
            await up.aclose()
            for _ in range(3):
                response = await gateway.request("GET", "/v1/friends")
                assert_problem(response, 503, Code.UNAVAILABLE)
                assert int(response.headers["retry-after"]) >= 1
                assert (await gateway.request("GET", "/v1/users/me")).status_code == 200


async def test_what_browsers_are_told_to_do(gateway: Gateway) -> None:
    gateway.services.answers["GetProfile"] = GetProfileResponse()
    for path in ("/v1/users/me", "/v1/nothing", "/docs", "/nothing"):
        headers = (await gateway.request("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
        assert headers["referrer-policy"] == "no-referrer", path
        assert (headers.get("cache-control") == "no-store") == path.startswith("/v1/"), path
        assert ("default-src 'none'" in headers.get("content-security-policy", "")) == (
            path != "/nothing"
        ), path
    keys = await gateway.anonymous("GET", "/.well-known/jwks.json")
    assert keys.headers.get("cache-control") != "no-store"
