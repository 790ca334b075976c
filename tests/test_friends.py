"""Friends over HTTP, and what their devices are told over the WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from im_people import Connect, Device, Frame, MakeUser, User, make_group, register

from im_common.testing.waiting import eventually
from im_local.testing import System


async def _ask(asker: User, asked: User, message: str = "hi") -> int:
    body = {"user_id": asked.user_id, "message": message}
    response = await asker.request("POST", "/v1/friends/requests", json=body)
    assert response.status_code == 201, response.text
    assert list(response.json()) == ["request_id"]
    return int(response.json()["request_id"])


async def _befriend(a: User, b: User) -> None:
    request_id = await _ask(a, b)
    await _do(b, "POST", f"/v1/friends/requests/{request_id}/accept")


async def _do(user: User, method: str, path: str, **arguments: Any) -> None:
    response = await user.request(method, path, **arguments)
    assert response.status_code == 204, response.text


async def _refused(user: User, method: str, path: str, **arguments: Any) -> tuple[int, str]:
    response = await user.request(method, path, **arguments)
    return response.status_code, response.json()["code"]


async def _friends(user: User) -> list[int]:
    return [friend["user_id"] for friend in (await user.get("/v1/friends"))["items"]]


async def test_two_people_become_friends_and_part(new_user: MakeUser) -> None:
    a, b = await new_user(), await new_user()
    request_id = await _ask(a, b, "hello")
    assert await a.get("/v1/friends/requests") == {"items": [], "next_cursor": None}
    [item] = (await b.get("/v1/friends/requests", direction="in"))["items"]
    assert isinstance(item.pop("created_at"), int)
    assert item == {
        "request_id": request_id,
        "from_user_id": a.user_id,
        "to_user_id": b.user_id,
        "username": a.username,
        "nickname": a.username,
        "avatar": "",
        "message": "hello",
        "status": "pending",
    }
    [sent] = (await a.get("/v1/friends/requests", direction="out"))["items"]
    assert (sent["request_id"], sent["username"]) == (request_id, b.username)
    path = f"/v1/friends/requests/{request_id}"
    for _ in range(2):
        await _do(b, "POST", f"{path}/accept")
    assert await _refused(b, "POST", f"{path}/reject") == (409, "FAILED_PRECONDITION")
    await _do(a, "PATCH", f"/v1/friends/{b.user_id}", json={"remark": "Bobby"})
    [friend] = (await a.get("/v1/friends"))["items"]
    assert isinstance(friend.pop("created_at"), int)
    assert friend == {
        "user_id": b.user_id,
        "username": b.username,
        "nickname": b.username,
        "avatar": "",
        "remark": "Bobby",
        "online": False,
        "last_seen": 0,
    }
    assert await _friends(b) == [a.user_id]
    await _do(b, "DELETE", f"/v1/friends/{a.user_id}")
    assert await _friends(a) == await _friends(b) == []


async def test_asking_who_has_asked_is_an_acceptance(new_user: MakeUser) -> None:
    a, b = await new_user(), await new_user()
    request_id = await _ask(a, b)
    response = await b.request("POST", "/v1/friends/requests", json={"user_id": a.user_id})
    assert response.status_code == 200
    assert response.json() == {"request_id": request_id, "accepted": True}
    assert await _friends(a) == [b.user_id]


async def test_requests_are_taken_back_and_turned_down(new_user: MakeUser) -> None:
    a, b = await new_user(), await new_user()
    taken_back = await _ask(a, b)
    await _do(a, "DELETE", f"/v1/friends/requests/{taken_back}")
    rejected = await _ask(a, b)
    await _do(b, "POST", f"/v1/friends/requests/{rejected}/reject")
    for request_id in (taken_back, rejected):
        path = f"/v1/friends/requests/{request_id}/accept"
        assert await _refused(b, "POST", path) == (409, "FAILED_PRECONDITION")
    items = (await b.get("/v1/friends/requests", status="all"))["items"]
    assert [(item["request_id"], item["status"]) for item in items] == [
        (rejected, "rejected"),
        (taken_back, "cancelled"),
    ]


async def test_who_cannot_be_asked(new_user: MakeUser) -> None:
    a, b, c = await new_user(), await new_user(), await new_user()

    async def refused(asker: User, user_id: int) -> tuple[int, str]:
        return await _refused(asker, "POST", "/v1/friends/requests", json={"user_id": user_id})

    assert await refused(a, a.user_id) == (400, "INVALID_ARGUMENT")
    assert await refused(a, 2**60) == (404, "NOT_FOUND")
    await _ask(a, b)
    assert await refused(a, b.user_id) == (409, "ALREADY_EXISTS")
    await _do(c, "PUT", f"/v1/blocks/{a.user_id}")
    assert await refused(a, c.user_id) == (403, "BLOCKED")
    assert await refused(c, a.user_id) == (409, "FAILED_PRECONDITION")
    assert (await a.request("PATCH", f"/v1/friends/{b.user_id}", json={"remark": "x"})).json()[
        "code"
    ] == "NOT_FRIENDS"


async def test_a_block_holds_everywhere(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    await _befriend(a, b)
    device_a, device_b = await online(a), await online(b)
    await _do(b, "PUT", f"/v1/blocks/{a.user_id}")
    assert await _friends(a) == await _friends(b) == []
    assert (await device_a.ask(to=b.user_id, content="x"))["code"] == "BLOCKED"
    body = {"to": b.user_id, "content": "x", "client_msg_id": "c"}
    assert await _refused(a, "POST", "/v1/messages", json=body) == (403, "BLOCKED")
    assert (await device_b.ask(to=a.user_id, content="x"))["type"] == "sent"
    [blocked] = (await b.get("/v1/blocks"))["items"]
    assert (blocked["user_id"], blocked["username"]) == (a.user_id, a.username)
    await _do(b, "DELETE", f"/v1/blocks/{a.user_id}")
    assert (await device_a.ask(to=b.user_id, content="x"))["type"] == "sent"
    assert await _friends(a) == []


async def test_every_device_of_both_is_told(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    of_a = [await online(a), await online(a)]
    of_b = [await online(b), await online(b)]
    first = await _ask(a, b, "hello")
    await _do(a, "DELETE", f"/v1/friends/requests/{first}")
    second = await _ask(b, a)
    await _do(a, "POST", f"/v1/friends/requests/{second}/reject")
    third = await _ask(a, b)
    await _do(b, "POST", f"/v1/friends/requests/{third}/accept")
    await _do(b, "PUT", f"/v1/blocks/{a.user_id}")
    await _do(b, "DELETE", f"/v1/blocks/{a.user_id}")

    def new(request_id: int, asker: User, message: str) -> tuple[str, Frame]:
        names = {"username": asker.username, "nickname": asker.username, "avatar": ""}
        data = {"request_id": request_id, "from_user_id": asker.user_id, "message": message}
        return "NewFriendRequest", data | names

    told_a = [
        new(second, b, "hi"),
        ("FriendAccepted", {"request_id": third, "user_id": b.user_id}),
        ("FriendDeleted", {"user_id": b.user_id}),
    ]
    told_b = [
        new(first, a, "hello"),
        ("FriendRequestCancelled", {"request_id": first, "from_user_id": a.user_id}),
        ("FriendRejected", {"request_id": second, "user_id": a.user_id}),
        new(third, a, "hi"),
        ("FriendAccepted", {"request_id": third, "user_id": a.user_id}),
        ("BlockListChanged", {"user_id": a.user_id, "blocked": True}),
        ("FriendDeleted", {"user_id": a.user_id}),
        ("BlockListChanged", {"user_id": a.user_id, "blocked": False}),
    ]
    for devices, told in ((of_a, told_a), (of_b, told_b)):
        ids = []
        for device in devices:
            frames = await device.wait_count("event", len(told))
            assert [(frame["event"], frame["data"]) for frame in frames] == told
            ids.append([frame["event_id"] for frame in frames])
        assert ids[0] == ids[1]


async def test_friends_are_told_of_a_new_name_and_picture_and_strangers_are_not(
    new_user: MakeUser, online: Connect
) -> None:
    a, b, stranger = await new_user(), await new_user(), await new_user()
    await _befriend(a, b)
    group_id = await make_group(a, stranger)
    of_a, of_b, of_stranger = await online(a), await online(b), await online(stranger)
    response = await a.request("PATCH", "/v1/users/me", json={"nickname": "Ann", "signature": ""})
    assert response.status_code == 200, response.text
    told = [
        await device.wait_for(lambda f: f.get("event") == "ProfileUpdated")
        for device in (of_a, of_b)
    ]
    wanted = {"user_id": a.user_id, "nickname": "Ann"}
    assert [frame["data"] for frame in told] == [wanted, wanted]
    # What came after it, on the same way.
    await _do(a, "POST", f"/v1/groups/{group_id}/mute", json={"muted": True})
    await of_stranger.wait_for(lambda f: f.get("event") == "GroupUpdated")
    assert all(f["event"] != "ProfileUpdated" for f in of_stranger.of("event"))


async def test_who_is_away_is_told_later(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    request_id = await _ask(a, b)
    device = await online(b)
    # Out of the list, or by itself if it was still on its way.
    told = await device.wait_for(lambda f: f["type"] in ("offline", "event"))
    [event] = told.get("frames", [told])
    assert (event["event"], event["data"]["request_id"]) == ("NewFriendRequest", request_id)


async def test_presence_is_hidden_by_a_block_in_both_directions(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    await online(a)
    await online(b)

    async def sees(user: User, other: User) -> bool:
        [presence] = (await user.get("/v1/users/online", ids=str(other.user_id)))["items"]
        return bool(presence["online"])

    await eventually(lambda: sees(a, b))
    await _do(b, "PUT", f"/v1/blocks/{a.user_id}")
    assert not await sees(a, b)
    assert not await sees(b, a)
    await _do(b, "DELETE", f"/v1/blocks/{a.user_id}")
    await _befriend(a, b)
    [friend] = (await a.get("/v1/friends"))["items"]
    assert friend["online"]
    assert friend["last_seen"] > 0


async def test_only_friends_may_write_where_that_is_required(tmp_path: Path) -> None:
    # Always on servers of its own: the others' consumer is of the same group.
    env = {"IM_RATE_LIMITS": "off", "IM_REQUIRE_FRIENDSHIP": "true"}
    with System.start(tmp_path, env=env) as system:
        async with httpx.AsyncClient(base_url=system.ready.api, timeout=15) as http:
            a, b = await register(http), await register(http)
            async with await Device.connect(system.ready.ws, a) as device:
                assert (await device.ask(to=b.user_id, content="x"))["code"] == "NOT_FRIENDS"
                await _befriend(a, b)
                assert (await device.ask(to=b.user_id, content="x"))["type"] == "sent"
                await _do(b, "DELETE", f"/v1/friends/{a.user_id}")
                # At once, and also where there is a conversation.
                assert (await device.ask(to=b.user_id, content="x"))["code"] == "NOT_FRIENDS"
                body = {"to": a.user_id, "content": "x"}
                refused = await _refused(b, "POST", "/v1/messages", json=body)
                assert refused == (403, "NOT_FRIENDS")
