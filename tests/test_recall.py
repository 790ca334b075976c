"""A message that is taken back is gone for everybody."""

from __future__ import annotations

from im_people import Connect, MakeUser, make_group, single


async def test_a_recalled_message_is_gone_for_all(new_user: MakeUser, online: Connect) -> None:
    a, b, c = await new_user(), await new_user(), await new_user()
    phone, laptop, device_b = await online(a), await online(a), await online(b)
    sent = await phone.ask(to=b.user_id, content="oops")
    wanted = {
        "type": "recalled",
        "conversation_id": single(a, b),
        "seq": 1,
        "message_id": sent["message_id"],
        "by": a.user_id,
    }
    await device_b.send(type="recall", message_id=sent["message_id"])
    await device_b.wait_for(lambda f: f.get("code") == "PERMISSION_DENIED")
    await phone.send(type="recall", message_id=sent["message_id"])
    for device in (phone, laptop, device_b):
        assert await device.wait_for(lambda f: f["type"] == "recalled") == wanted
    (stored,) = await b.history(single(a, b))
    assert (stored["content"], stored["recalled"]) == ("", True)
    await phone.send(type="recall", message_id="nothing")
    await phone.wait_for(lambda f: f.get("code") == "NOT_FOUND")
    # Again, and over HTTP; a stranger may not.
    path = f"/v1/messages/{sent['message_id']}/recall"
    response = await a.request("POST", path)
    assert response.status_code == 200, response.text
    assert response.json()["seq"] == 1
    assert (await c.request("POST", path)).status_code == 403


async def test_what_tells_of_a_change_of_a_group_cannot_be_taken_back(
    new_user: MakeUser, online: Connect
) -> None:
    owner, member = await new_user(), await new_user()
    on_owner = await online(owner)
    group_id = await make_group(owner, member)
    assert (await member.request("POST", f"/v1/groups/{group_id}/leave")).status_code == 204
    made, left = await on_owner.wait_count("message", 2)
    for message in (made, left):
        path = f"/v1/messages/{message['message_id']}/recall"
        response = await owner.request("POST", path)
        assert (response.status_code, response.json()["code"]) == (403, "PERMISSION_DENIED")
        await on_owner.send(type="recall", message_id=message["message_id"])
    await on_owner.wait_count("error", 2)
    events = [one["ext"]["event"] for one in await owner.history(f"g:{group_id}")]
    assert events == ["group_created", "member_left"]


async def test_a_device_that_was_away_while_another_was_here_learns_of_a_recall(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a, laptop = await online(a), await online(b, query="?device_id=laptop")
    phone = await online(b, query="?device_id=phone")
    sent = await device_a.ask(to=b.user_id, content="oops")
    await phone.wait_for(lambda f: f["type"] == "message")
    await phone.close()
    await device_a.send(type="recall", message_id=sent["message_id"])
    told = await laptop.wait_for(lambda f: f["type"] == "recalled")
    phone = await online(b, query="?device_id=phone")
    assert await phone.wait_for(lambda f: f["type"] == "recalled") == told
    # One that never had the message has nothing to take back.
    tablet = await online(b, query="?device_id=tablet")
    await device_a.ask(to=b.user_id, content="better")
    for device, kinds in (
        (phone, ["hello", "recalled", "message"]),
        (tablet, ["hello", "message"]),
    ):
        await device.wait_for(lambda f: f.get("content") == "better")
        assert [f["type"] for f in device.frames if f["type"] != "receipt"] == kinds


async def test_who_was_away_gets_the_message_and_its_recall(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a = await online(a)
    sent = await device_a.ask(to=b.user_id, content="oops")
    await device_a.send(type="recall", message_id=sent["message_id"])
    await device_a.wait_for(lambda f: f["type"] == "recalled")
    await device_a.ask(to=b.user_id, content="better")
    device_b = await online(b)
    frames = await device_b.wait_received(3)
    assert [f["type"] for f in frames] == ["message", "recalled", "message"]
