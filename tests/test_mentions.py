"""Mentions over WebSocket and HTTP: who may name all, what the frames say, when it goes away."""

from __future__ import annotations

from typing import Any

from im_people import Connect, Device, Frame, MakeUser, User, make_group, single


async def _mentioned(user: User) -> dict[str, int]:
    items = (await user.get("/v1/conversations"))["items"]
    return {
        item["conversation_id"]: item["mentioned_seq"] for item in items if "mentioned_seq" in item
    }


def _mentions(messages: list[Frame]) -> list[Any]:
    return [one["mentions"] for one in messages if one.get("content_type") == "text"]


async def _received(device: Device, count: int) -> list[Any]:
    await device.wait_for(lambda _: len(_mentions(device.received())) >= count)
    return _mentions(device.received())


async def _read(user: User, conversation_id: str, seq: int) -> None:
    path = f"/v1/conversations/{conversation_id}/read"
    response = await user.request("POST", path, json={"seq": seq})
    assert response.status_code == 204, response.text


async def test_all_of_a_group_are_mentioned_by_its_owner(
    new_user: MakeUser, online: Connect
) -> None:
    owner, bob, eve = [await new_user() for _ in range(3)]
    group_id = await make_group(owner, bob, eve)
    on = f"g:{group_id}"
    of_owner, of_bob = await online(owner), await online(bob)
    for spelled in ("all", ["all"]):
        refused = await of_bob.ask(group_id=group_id, content="x", mentions=spelled)
        assert (refused["code"], refused["field"]) == ("PERMISSION_DENIED", "mentions")
        body = {"group_id": group_id, "content": "x", "mentions": spelled}
        response = await bob.request("POST", "/v1/messages", json=body)
        assert (response.status_code, response.json()["field"]) == (403, "mentions")
        response = await owner.request("POST", "/v1/messages", json=body)
        assert response.status_code == 201, response.text
    await of_owner.ask(group_id=group_id, content="both", mentions=["all", bob.user_id])
    await of_owner.ask(group_id=group_id, content="eve", mentions=[eve.user_id, 1])
    wanted: list[Any] = [["all"], ["all"], ["all", bob.user_id], [eve.user_id]]
    of_eve = await online(eve)
    assert await _received(of_bob, 4) == await _received(of_eve, 4) == wanted
    await of_eve.send(type="sync", cursors={on: 1})
    [delta] = (await of_eve.wait_for(lambda f: f["type"] == "sync"))["conversations"]
    assert _mentions(delta["messages"]) == _mentions(await bob.history(on)) == wanted
    assert [await _mentioned(user) for user in (owner, bob, eve)] == [{}, {on: 2}, {on: 2}]
    await _read(bob, on, 3)
    assert await _mentioned(bob) == {on: 4}
    await _read(bob, on, 4)
    await _read(eve, on, 4)
    assert [await _mentioned(user) for user in (bob, eve)] == [{}, {on: 5}]


async def test_a_mention_goes_with_its_message(new_user: MakeUser, online: Connect) -> None:
    alice, bob = await new_user(), await new_user()
    on = single(alice, bob)
    device = await online(alice)
    sent = [
        await device.ask(to=bob.user_id, content="x", mentions=[bob.user_id, alice.user_id])
        for _ in range(3)
    ]
    assert await _mentioned(bob) == {on: 1}
    await device.send(type="recall", message_id=sent[0]["message_id"])
    await device.wait_for(lambda f: f["type"] == "recalled")
    assert await _mentioned(bob) == {on: 2}
    assert await _mentioned(alice) == {}
    # Sending reads the conversation.
    body = {"to": alice.user_id, "content": "y"}
    assert (await bob.request("POST", "/v1/messages", json=body)).status_code == 201
    assert await _mentioned(bob) == {}
    refused = await device.ask(to=bob.user_id, content="x", mentions="all")
    assert (refused["code"], refused["field"]) == ("INVALID_ARGUMENT", "mentions")


async def test_who_left_is_not_mentioned_and_comes_back_to_nothing(
    new_user: MakeUser, online: Connect
) -> None:
    owner, bob = await new_user(), await new_user()
    group_id = await make_group(owner, bob)
    device, path = await online(owner), f"/v1/groups/{group_id}/members"
    await device.ask(group_id=group_id, content="x", mentions="all")
    assert await _mentioned(bob) == {f"g:{group_id}": 2}
    await owner.request("DELETE", f"{path}/{bob.user_id}")
    await device.ask(group_id=group_id, content="x", mentions=[bob.user_id])
    assert await _mentioned(bob) == {}
    await owner.request("POST", path, json={"user_ids": [bob.user_id]})
    assert await _mentioned(bob) == {}
    sent = await device.ask(group_id=group_id, content="x", mentions=[bob.user_id])
    assert await _mentioned(bob) == {f"g:{group_id}": sent["seq"]}
