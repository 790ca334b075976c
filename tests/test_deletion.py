"""The end of an account: what is gone at once, what follows, and what stays."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from im_clients import People, Person, history, make_group
from im_people import PASSWORD, Connect, MakeUser, User

from im_client import ApiError, MessageRefused
from im_common.testing.waiting import eventually


async def befriend(a: Person, b: Person) -> None:
    asked = await a.client.http.post("/v1/friends/requests", {"user_id": b.id})
    await b.client.http.post(f"/v1/friends/requests/{asked['request_id']}/accept")


async def delete(user: User, password: str = PASSWORD) -> httpx.Response:
    return await user.request("DELETE", "/v1/users/me", json={"password": password})


async def log_in(http: httpx.AsyncClient, username: str) -> tuple[int, Any]:
    """Status and body, but for the request's id."""
    body = {"username": username, "password": PASSWORD}
    response = await http.post("/v1/auth/login", json=body)
    return response.status_code, response.json() | {"request_id": ""}


async def end_account(person: Person) -> None:
    await person.client.http.request("DELETE", "/v1/users/me", body={"password": PASSWORD})


async def members(person: Person, group_id: int) -> dict[int, str]:
    page = await person.get(f"/v1/groups/{group_id}/members")
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


async def test_others_see_nobody_and_keep_what_was_said(people: People) -> None:
    ann, bob = await people.new(), await people.new()
    await ann.client.http.patch("/v1/users/me", {"nickname": "Ann", "signature": "secret"})
    await ann.say(ann.chat_with(bob), "hello")
    ann_id = ann.id
    await end_account(ann)

    async def is_nobody() -> bool:
        shown = await bob.get(f"/v1/users/{ann_id}")
        return bool(shown["nickname"] == "Deleted user")

    await eventually(is_nobody)
    shown = await bob.get(f"/v1/users/{ann_id}")
    assert shown["username"] == f"~{ann_id}"
    assert (shown["signature"], shown["avatar"]) == ("", "")
    assert (await bob.get("/v1/users", q=ann.username))["items"] == []
    on = bob.client.conversation_with(ann_id)
    [message] = await history(bob, on)
    assert (message.sender, message.content) == (ann_id, "hello")
    with pytest.raises(MessageRefused) as refused:
        await bob.say(on, "are you there?")
    assert refused.value.code == "NOT_FOUND"


async def test_friends_are_told_and_groups_are_left_or_handed_over(people: People) -> None:
    ann, bob, eve, mallory = [await people.new() for _ in range(4)]
    await befriend(ann, bob)
    await eve.client.http.post("/v1/friends/requests", {"user_id": ann.id})
    await ann.client.http.put(f"/v1/blocks/{mallory.id}")
    joined = await make_group(eve, ann)
    owned = await make_group(ann, bob, eve)
    await ann.client.http.patch(f"/v1/groups/{owned}/members/{eve.id}", {"role": "admin"})
    alone = await make_group(ann)

    ann_id = ann.id
    await end_account(ann)
    assert await bob.told("FriendDeleted") == {"user_id": ann_id}
    assert (await bob.get("/v1/friends"))["items"] == []

    async def has_left() -> bool:
        return await members(eve, joined) == {eve.id: "owner"} and await members(eve, owned) == {
            eve.id: "owner",
            bob.id: "member",
        }

    await eventually(has_left)
    with pytest.raises(ApiError) as gone:
        await eve.get(f"/v1/groups/{alone}")
    assert gone.value.status == 404
    said = [
        message.ext["event"]
        for message in await history(eve, f"g:{owned}")
        if message.content_type == "system"
    ]
    assert said[-2:] == ["owner_transferred", "member_left"]
