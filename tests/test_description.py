"""The API's description beside the system that it describes: its examples, and generated requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from im_people import MakeUser, User
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from im_local.testing import System

# Generated requests for each operation.
REQUESTS = 25

# Who sends which example, in an order in which each can be done; a name of what is to be remembered of
# the answer follows after ">".
ALL_EXAMPLES = """
alice get_jwks
alice get_me
alice update_me
alice get_online
alice get_user
bob get_user
alice search_users
alice send_friend_request > request
bob list_friend_requests
bob reject_friend_request
alice send_friend_request > request
alice cancel_friend_request
alice send_friend_request > request
bob accept_friend_request
alice set_remark
alice list_friends
alice send_message > message
alice get_history
alice search_messages
alice list_conversations
alice get_unread
alice mark_as_read
alice sync
alice recall_message
alice delete_friend
alice block_user
alice list_blocked_users
alice unblock_user
alice create_group > group
alice list_my_groups
alice get_group
alice update_group
alice list_members
alice change_member
alice mute_group
alice list_readers
bob leave_group
alice invite_members
alice remove_member
bob join_group > request
alice list_join_requests
alice reject_join_request
bob join_group > request
alice accept_join_request
alice transfer_ownership
bob dismiss_group
alice list_sessions
alice revoke_other_sessions
alice change_password
alice refresh
alice revoke_session
"""
# Nobody could be asked anything afterwards.
ENDS_THE_SESSION = {"logout", "delete_me"}
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
# Those that make and end the sessions of the cast, and what is no JSON, are sent by the test itself; a
# text has no thumbnail.
APART = {"register", "login", "logout", "upload_file", "get_file", "get_thumbnail", "export_me"}


@pytest.fixture
def api(system: System) -> Any:
    return httpx.get(f"{system.ready.api}/openapi.json", verify=False).json()


def operations(api: Any) -> Iterator[tuple[str, str, Any]]:
    for path, verbs in api["paths"].items():
        for verb, operation in verbs.items():
            yield verb.upper(), path, operation


class Cast:
    """The people of the examples, and what stands there for what is really there."""

    def __init__(self, api: Any, alice: User, bob: User, carol: User) -> None:
        self.people = {"alice": alice, "bob": bob, "carol": carol}
        self._operations = {one["operationId"]: (v, p, one) for v, p, one in operations(api)}
        pair = sorted((alice.user_id, bob.user_id))
        self.real: dict[Any, Any] = {
            1001: alice.user_id,
            1002: bob.user_id,
            1003: carol.user_id,
            "1002": str(bob.user_id),
            "bob": bob.username,
            "s:1001:1002": f"s:{pair[0]}:{pair[1]}",
        }

    def put(self, example: Any) -> Any:
        """The example with what is really there."""
        if isinstance(example, dict):
            return {self.put(name): self.put(value) for name, value in example.items()}
        if isinstance(example, list):
            return [self.put(one) for one in example]
        return example if isinstance(example, bool) else self.real.get(example, example)

    async def send(self, who: str, name: str) -> tuple[Any, Any]:
        """Sends the example of an operation: what it answers, and what the example says it does."""
        verb, path, operation = self._operations[name]
        query = {}
        for parameter in operation.get("parameters", ()):
            value = self.put(parameter["example"]) if "example" in parameter else None
            if parameter["in"] == "path":
                assert value is not None, f"{name}: no example of {parameter['name']}"
                path = path.replace(f"{{{parameter['name']}}}", str(value))
            elif value is not None:
                query[parameter["name"]] = value
        arguments: dict[str, Any] = {"params": query}
        if "requestBody" in operation:
            example = operation["requestBody"]["content"]["application/json"]["example"]
            arguments["json"] = self.put(example)
        response = await self.people[who].request(verb, path, **arguments)
        status = next(status for status in operation["responses"] if status[0] == "2")
        if name == "send_friend_request":
            status = "201"
        assert str(response.status_code) == status, f"{name}: {response.text}"
        said = operation["responses"][status].get("content", {}).get("application/json", {})
        assert (said == {}) == (not response.content), name
        return (response.json() if response.content else None), said.get("example")


async def test_every_example_is_taken_and_answered_as_it_says(
    api: Any, new_user: MakeUser, http: httpx.AsyncClient
) -> None:
    alice, bob, carol = [await new_user() for _ in range(3)]
    cast = Cast(api, alice, bob, carol)
    password = next(
        one["requestBody"]["content"]["application/json"]["example"]["password"]
        for _, _, one in operations(api)
        if one["operationId"] == "login"
    )
    cast.real[password] = "correct horse battery"
    sent = set(APART)
    for line in ALL_EXAMPLES.strip().splitlines():
        step, _, kept = line.partition(" > ")
        who, name = step.split()
        if name == "refresh":
            cast.real |= {_example_of(api, name)["refresh_token"]: alice.refresh_token}
        if name == "revoke_session":
            cast.real |= {_parameter_of(api, name): alice.session_id}
        if name == "list_readers":
            group = f"g:{cast.real[2001]}"
            await bob.request("POST", f"/v1/conversations/{group}/read", json={"seq": 1})
        answer, example = await cast.send(who, name)
        sent.add(name)
        _same_names(name, answer, example)
        if name == "refresh":
            cast.people["alice"] = User.of(http, alice.username, answer)
        if kept == "request":
            cast.real[31] = answer["request_id"]
        elif kept == "group":
            cast.real |= {2001: answer["group_id"]}
        elif kept == "message":
            cast.real |= {_parameter_of(api, "recall_message"): answer["message_id"]}
    await _check_files(api, bob)
    cast.real[password] = "correct horse battery"
    await cast.send("carol", "delete_me")
    sent.add("delete_me")
    assert sent == {one["operationId"] for _, _, one in operations(api)}


async def _check_files(api: Any, user: User) -> None:
    [upload] = [one for _, _, one in operations(api) if one["operationId"] == "upload_file"]
    example = upload["responses"]["201"]["content"]["application/json"]["example"]
    response = await user.request("POST", "/v1/files", files={"file": ("a.txt", b"hello")})
    assert response.status_code == 201, response.text
    uploaded = response.json()
    same = ("size", "content_type")
    assert [uploaded[name] for name in same] == [example[name] for name in same]
    _same_names("upload_file", uploaded, example)
    path = example["url"].replace(_parameter_of(api, "get_file"), uploaded["file_id"])
    assert path == uploaded["url"]
    assert (await user.request("GET", path)).content == b"hello"


def _example_of(api: Any, name: str) -> Any:
    [found] = [one for _, _, one in operations(api) if one["operationId"] == name]
    return found["requestBody"]["content"]["application/json"]["example"]


def _parameter_of(api: Any, name: str) -> Any:
    [found] = [one for _, _, one in operations(api) if one["operationId"] == name]
    return found["parameters"][0]["example"]


def _same_names(name: str, answer: Any, example: Any) -> None:
    """The example has the fields of the real answer, and no other."""
    if isinstance(answer, dict) and isinstance(answer.get("items"), list):
        assert answer["items"], f"{name}: nothing to compare the example with"
        assert set(answer["items"][0]) == set(example["items"][0]), name
        assert set(answer) == set(example), name
    elif isinstance(answer, dict):
        assert set(answer) == set(example), name


@pytest.fixture
async def http_user(new_user: MakeUser) -> User:
    return await new_user()


def test_generated_requests_find_no_fault_and_no_answer_that_is_not_described(
    system: System, http_user: User, record_property: Callable[[str, object], None]
) -> None:
    """schemathesis over every operation: REQUESTS each, as somebody who is logged in."""
    schema = schemathesis.openapi.from_url(f"{system.ready.api}/openapi.json")
    sent = Counter[str]()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if operation.definition.raw["operationId"] not in ENDS_THE_SESSION:
            _send_generated(operation, http_user.bearer, sent)
    me = httpx.get(f"{system.ready.api}/v1/users/me", headers=http_user.bearer, verify=False)
    assert me.status_code == 200, "most were sent as nobody"
    assert min(sent.values()) >= 1
    record_property("generated requests", sum(sent.values()))
    assert sum(sent.values()) >= 500


def _send_generated(operation: Any, headers: dict[str, str], sent: Counter[str]) -> None:
    described = operation.definition.raw

    def send(case: Any) -> None:
        response = case.call(headers=dict(headers))
        sent[described["operationId"]] += 1
        case.validate_response(response, checks=CHECKS)
        # Not even what the description says of all routes together.
        assert str(response.status_code) in described["responses"], response.text

    run = settings(
        max_examples=REQUESTS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(given(case=operation.as_strategy())(send))
    run()
