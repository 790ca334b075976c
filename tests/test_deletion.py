"""The end of an account: what is gone at once, what follows, and what stays."""

from __future__ import annotations

from typing import Any

import httpx
from im_people import PASSWORD, Connect, MakeUser, User, make_group, single

from im_common.testing.waiting import eventually


async def befriend(a: User, b: User) -> None:
    asked = await a.request("POST", "/v1/friends/requests", json={"user_id": b.user_id})
    path = f"/v1/friends/requests/{asked.json()['request_id']}/accept"
    assert (await b.request("POST", path)).status_code == 204


async def delete(user: User, password: str = PASSWORD) -> httpx.Response:
    return await user.request("DELETE", "/v1/users/me", json={"password": password})


async def log_in(http: httpx.AsyncClient, username: str) -> tuple[int, Any]:
    """Status and body, but for the request's id."""
    body = {"username": username, "password": PASSWORD}
    response = await http.post("/v1/auth/login", json=body)
    return response.status_code, response.json() | {"request_id": ""}


async def members(user: User, group_id: int) -> dict[int, str]:
    page = await user.get(f"/v1/groups/{group_id}/members")
    return {item["user_id"]: item["role"] for item in page["items"]}


async def test_the_name_and_the_sessions_are_gone_at_once(
    http: httpx.AsyncClient, new_user: MakeUser, online: Connect
) -> None:
    ann = await new_user()
    device = await online(ann)
    assert (await delete(ann)).status_code == 204
    assert await device.wait_closed(limit_s=5) == 4002
    assert await log_in(http, ann.username) == await log_in(http, "nobody-has-this-name")
    refreshed = await http.post("/v1/auth/refresh", json={"refresh_token": ann.refresh_token})
    assert refreshed.status_code == 401

    async def is_over() -> bool:
        return (await ann.request("GET", "/v1/users/me")).status_code == 401

    await eventually(is_over)

    async def is_free() -> bool:
        body = {"username": ann.username, "password": PASSWORD}
        return (await http.post("/v1/auth/register", json=body)).status_code == 201

    await eventually(is_free)


async def test_a_wrong_password_ends_nothing(new_user: MakeUser) -> None:
    ann = await new_user()
    refused = await delete(ann, "not the password")
    assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_CREDENTIALS")
    assert (await ann.get("/v1/users/me"))["username"] == ann.username


async def test_others_see_nobody_and_keep_what_was_said(new_user: MakeUser) -> None:
    ann, bob = await new_user(), await new_user()
    await ann.request("PATCH", "/v1/users/me", json={"nickname": "Ann", "signature": "secret"})
    body = {"to": bob.user_id, "content": "hello"}
    assert (await ann.request("POST", "/v1/messages", json=body)).status_code == 201
    assert (await delete(ann)).status_code == 204

    async def is_nobody() -> bool:
        shown = await bob.get(f"/v1/users/{ann.user_id}")
        return bool(shown["nickname"] == "Deleted user")

    await eventually(is_nobody)
    shown = await bob.get(f"/v1/users/{ann.user_id}")
    assert shown["username"] == f"~{ann.user_id}"
    assert (shown["signature"], shown["avatar"]) == ("", "")
    assert (await bob.get("/v1/users", q=ann.username))["items"] == []
    [message] = await bob.history(single(ann, bob))
    assert (message["from"], message["content"]) == (ann.user_id, "hello")
    body = {"to": ann.user_id, "content": "are you there?"}
    refused = await bob.request("POST", "/v1/messages", json=body)
    assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND")


async def test_friends_are_told_and_groups_are_left_or_handed_over(
    new_user: MakeUser, online: Connect
) -> None:
    ann, bob, eve, mallory = [await new_user() for _ in range(4)]
    await befriend(ann, bob)
    asked = await eve.request("POST", "/v1/friends/requests", json={"user_id": ann.user_id})
    assert asked.status_code == 201
    await ann.request("PUT", f"/v1/blocks/{mallory.user_id}")
    joined = await make_group(eve, ann)
    owned = await make_group(ann, bob, eve)
    path = f"/v1/groups/{owned}/members/{eve.user_id}"
    assert (await ann.request("PATCH", path, json={"role": "admin"})).status_code == 204
    alone = await make_group(ann)
    on_bob = await online(bob)

    assert (await delete(ann)).status_code == 204
    told = await on_bob.wait_for(lambda f: f.get("event") == "FriendDeleted")
    assert told["data"] == {"user_id": ann.user_id}
    assert (await bob.get("/v1/friends"))["items"] == []

    async def has_left() -> bool:
        return await members(eve, joined) == {eve.user_id: "owner"} and await members(
            eve, owned
        ) == {eve.user_id: "owner", bob.user_id: "member"}

    await eventually(has_left)
    assert (await eve.request("GET", f"/v1/groups/{alone}")).status_code == 404
    said = [
        message["ext"]["event"]
        for message in await eve.history(f"g:{owned}")
        if message["content_type"] == "system"
    ]
    assert said[-2:] == ["owner_transferred", "member_left"]
