"""Two people talk: every message stored once, delivered once, in one order."""

from __future__ import annotations

import asyncio
from typing import Any

from im_people import Connect, Device, MakeUser, User, make_group, single


async def test_a_message_is_stored_answered_and_delivered(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    sent = await device_a.ask(to=b.user_id, content="hello", client_msg_id="c-1")
    assert sent["type"] == "sent"
    assert (sent["conversation_id"], sent["seq"]) == (single(a, b), 1)
    message = await device_b.wait_for(lambda f: f["type"] == "message")
    assert message == {
        "type": "message",
        "message_id": sent["message_id"],
        "conversation_id": single(a, b),
        "seq": 1,
        "from": a.user_id,
        "to": b.user_id,
        "content_type": "text",
        "content": "hello",
        "timestamp": sent["timestamp"],
    }
    (stored,) = await b.history(single(a, b))
    assert stored["message_id"] == sent["message_id"]
    assert stored["content"] == "hello"


async def test_a_thousand_messages_each_way_at_once(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    count = 1000

    async def flood(device: Device, to: User, prefix: str) -> None:
        for i in range(count):
            await device.send(
                type="chat", to=to.user_id, content=f"{prefix}{i}", client_msg_id=f"{prefix}{i}"
            )

    await asyncio.gather(flood(device_a, b, "a"), flood(device_b, a, "b"))
    sent_a = await device_a.wait_count("sent", count)
    sent_b = await device_b.wait_count("sent", count)
    got_a = await device_a.wait_count("message", count)
    got_b = await device_b.wait_count("message", count)
    assert not device_a.of("error")
    assert not device_b.of("error")

    for sent, prefix in ((sent_a, "a"), (sent_b, "b")):
        assert sorted(f["client_msg_id"] for f in sent) == sorted(
            f"{prefix}{i}" for i in range(count)
        )
    seqs = sorted(f["seq"] for f in sent_a + sent_b)
    assert seqs == list(range(1, 2 * count + 1))
    # Each side's order of arrival is the one order.
    for got in (got_a, got_b):
        assert [f["seq"] for f in got] == sorted(f["seq"] for f in got)
        assert len({f["message_id"] for f in got}) == count
    assert [f["content"] for f in got_b] == [f"a{i}" for i in range(count)]

    history = await a.history(single(a, b))
    assert [f["seq"] for f in history] == seqs
    ids = {f["seq"]: f["message_id"] for f in sent_a + sent_b}
    assert {f["seq"]: f["message_id"] for f in history} == ids
    assert [f for f in await b.history(single(a, b)) if f["from"] == b.user_id]


async def test_a_retry_gives_the_first_place(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    first = await device_a.ask(to=b.user_id, content="once", client_msg_id="same")
    device_a.frames.clear()
    second = await device_a.ask(to=b.user_id, content="once", client_msg_id="same")
    assert second == first
    await device_a.ask(to=b.user_id, content="last", client_msg_id="other")
    await device_b.wait_for(lambda f: f.get("content") == "last")
    assert [f["content"] for f in device_b.of("message")] == ["once", "last"]


async def test_two_equal_frames_in_one_batch_are_one_message(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a = await online(a)
    for _ in range(20):
        await device_a.send(type="chat", to=b.user_id, content="x", client_msg_id="same")
    answers = await device_a.wait_count("sent", 20)
    assert len({(f["message_id"], f["seq"]) for f in answers}) == 1
    assert len(await a.history(single(a, b))) == 1


async def test_a_client_msg_id_of_another_conversation_is_an_error(
    new_user: MakeUser, online: Connect
) -> None:
    a, b, c = await new_user(), await new_user(), await new_user()
    device = await online(a)
    await device.ask(to=b.user_id, content="x", client_msg_id="same")
    device.frames.clear()
    answer = await device.ask(to=c.user_id, content="x", client_msg_id="same")
    assert (answer["type"], answer["code"]) == ("error", "ALREADY_EXISTS")
    after = await device.ask(to=c.user_id, content="x")
    assert (after["type"], after["seq"]) == ("sent", 1)


async def test_all_devices_of_both_see_the_message(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    phone, laptop = await online(a, query="?device_id=p"), await online(a, query="?device_id=l")
    b1, b2 = await online(b), await online(b)
    sent = await phone.ask(to=b.user_id, content="hi", client_msg_id="c-9")
    copy = await laptop.wait_for(lambda f: f["type"] == "message")
    assert (copy["client_msg_id"], copy["seq"]) == ("c-9", sent["seq"])
    for device in (b1, b2):
        message = await device.wait_for(lambda f: f["type"] == "message")
        assert "client_msg_id" not in message
    assert not phone.of("message")


async def test_a_message_without_client_msg_id_gets_one(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device = await online(a)
    await device.send(type="chat", to=b.user_id, content="x")
    sent = await device.wait_for(lambda f: f["type"] == "sent")
    assert sent["client_msg_id"]


async def test_a_message_over_http_is_the_same(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    device_b = await online(b)
    body: dict[str, Any] = {"to": b.user_id, "content": "over http", "client_msg_id": "h-1"}
    response = await a.request("POST", "/v1/messages", json=body)
    assert response.status_code == 201, response.text
    sent = response.json()
    message = await device_b.wait_for(lambda f: f["type"] == "message")
    assert (message["message_id"], message["seq"]) == (sent["message_id"], sent["seq"])
    again = await a.request("POST", "/v1/messages", json=body)
    assert again.json() == sent


async def test_a_content_is_enough_for_a_message_of_any_type(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    kinds = ["text", "image", "file", "audio", "video", "location", "custom"]
    for kind in kinds:
        body = {"to": b.user_id, "content": f"a {kind}", "content_type": kind}
        assert (await device_a.ask(**body))["type"] == "sent", kind
        response = await a.request("POST", "/v1/messages", json=body)
        assert response.status_code == 201, response.text
    messages = await device_b.wait_count("message", 2 * len(kinds))
    assert [message["content_type"] for message in messages] == [
        kind for kind in kinds for _ in range(2)
    ]


async def test_the_blocked_are_told_and_heard_again_when_unblocked(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    earlier = await device_a.ask(to=b.user_id, content="before", client_msg_id="before")
    assert (await b.request("PUT", f"/v1/blocks/{a.user_id}")).status_code == 204
    refused = await device_a.ask(to=b.user_id, content="x")
    assert (refused["type"], refused["code"]) == ("error", "BLOCKED")
    # What was answered `sent` keeps its place, block or not.
    device_a.frames.clear()
    assert await device_a.ask(to=b.user_id, content="before", client_msg_id="before") == earlier
    # It is the one that was blocked who cannot write.
    assert (await device_b.ask(to=a.user_id, content="x"))["type"] == "sent"
    assert (await b.request("DELETE", f"/v1/blocks/{a.user_id}")).status_code == 204
    assert (await device_a.ask(to=b.user_id, content="again"))["type"] == "sent"
    await device_b.wait_for(lambda f: f.get("content") == "again")


async def test_a_group_message_reaches_all_members_and_nobody_else(
    new_user: MakeUser, online: Connect
) -> None:
    owner, b, c, stranger = [await new_user() for _ in range(4)]
    group_id = await make_group(owner, b, c)
    members = await owner.get(f"/v1/groups/{group_id}/members")
    assert {m["user_id"] for m in members["items"]} == {owner.user_id, b.user_id, c.user_id}
    devices = {u.user_id: await online(u) for u in (owner, b, stranger)}
    sent = await devices[owner.user_id].ask(group_id=group_id, content="all")
    assert (sent["conversation_id"], sent["seq"]) == (f"g:{group_id}", 2)
    message = await devices[b.user_id].wait_for(lambda f: f["type"] == "message")
    assert message["group_id"] == group_id
    assert "to" not in message
    # c was away.
    late = await online(c)
    missed = await late.wait_received(3)
    assert [f["content"] for f in missed if f["type"] == "message"] == ["", "all"]
    assert [f["event"] for f in missed if f["type"] == "event"] == ["GroupInvited"]
    refused = await devices[stranger.user_id].ask(group_id=group_id, content="x")
    assert refused["code"] == "NOT_GROUP_MEMBER"
    assert not devices[stranger.user_id].of("message")
    assert [m["seq"] for m in await b.history(f"g:{group_id}")] == [1, 2]
    response = await stranger.request("GET", f"/v1/conversations/g:{group_id}/messages")
    assert (response.status_code, response.json()["code"]) == (403, "NOT_GROUP_MEMBER")
