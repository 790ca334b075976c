"""What is kept of a person, as that person may have it."""

from __future__ import annotations

import json
from typing import Any

from im_people import MakeUser, User, make_group, single


async def export(user: User) -> list[dict[str, Any]]:
    response = await user.request("GET", "/v1/users/me/export")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert response.headers["content-disposition"].startswith("attachment")
    return [json.loads(line) for line in response.text.splitlines()]


def of(kind: str, lines: list[dict[str, Any]]) -> list[Any]:
    return [line["data"] for line in lines if line["kind"] == kind]


async def test_it_has_all_that_is_the_users_own_and_none_of_what_others_wrote(
    new_user: MakeUser,
) -> None:
    ann, bob, eve = [await new_user() for _ in range(3)]
    await ann.request("POST", "/v1/friends/requests", json={"user_id": bob.user_id})
    await ann.request("PUT", f"/v1/blocks/{eve.user_id}")
    group_id = await make_group(ann, bob)
    # More than a page of them.
    for number in range(120):
        body = {"to": bob.user_id, "content": f"number {number}"}
        assert (await ann.request("POST", "/v1/messages", json=body)).status_code == 201
    body = {"to": ann.user_id, "content": "not yours"}
    assert (await bob.request("POST", "/v1/messages", json=body)).status_code == 201

    lines = await export(ann)
    assert of("profile", lines) == [await ann.get("/v1/users/me")]
    assert [one["session_id"] for one in of("session", lines)] == [ann.session_id]
    assert [one["to_user_id"] for one in of("friend_request", lines)] == [bob.user_id]
    assert [one["user_id"] for one in of("blocked_user", lines)] == [eve.user_id]
    assert [one["group_id"] for one in of("group", lines)] == [group_id]
    conversations = {one["conversation_id"] for one in of("conversation", lines)}
    assert conversations == {single(ann, bob), f"g:{group_id}"}
    texts = [one for one in of("message", lines) if one["content_type"] == "text"]
    assert [one["content"] for one in texts] == [f"number {number}" for number in range(120)]
    assert "not yours" not in json.dumps(lines)
    assert lines[-1] == {"kind": "end", "data": {}}


async def test_it_is_for_who_is_logged_in(new_user: MakeUser) -> None:
    ann = await new_user()
    assert (await ann.http.get("/v1/users/me/export")).status_code == 401
