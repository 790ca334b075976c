"""A device that was away catches up; lists and counts are right."""

from __future__ import annotations

from im_clients import People, until
from im_people import Connect, Device, Frame, MakeUser, single


async def _sync(device: Device, cursors: dict[str, int], limit: int = 200) -> Frame:
    before = len(device.of("sync"))
    await device.send(type="sync", cursors=cursors, limit=limit)
    return (await device.wait_count("sync", before + 1))[-1]


async def test_a_device_that_was_away_catches_up(new_user: MakeUser, online: Connect) -> None:
    a, b, c = await new_user(), await new_user(), await new_user()
    device_a, device_c, phone = await online(a), await online(c), await online(b)
    for i in range(30):
        await device_a.ask(to=b.user_id, content=f"a{i}")
        await device_c.ask(to=b.user_id, content=f"c{i}")
    await phone.wait_count("message", 60)
    # Nothing is in the offline list: another device had it all.
    tablet = await online(b)
    cursors = {single(a, b): 10}
    got: dict[str, list[str]] = {}
    while True:
        answer = await _sync(tablet, cursors, limit=17)
        for delta in answer["conversations"]:
            assert (delta["last_seq"], delta["read_seq"], delta["unread"]) == (30, 0, 30)
            contents = got.setdefault(delta["conversation_id"], [])
            contents += [message["content"] for message in delta["messages"]]
            cursors[delta["conversation_id"]] = delta["messages"][-1]["seq"]
        if not answer["has_more"]:
            break
    assert got == {
        single(a, b): [f"a{i}" for i in range(10, 30)],
        single(b, c): [f"c{i}" for i in range(30)],
    }
    assert (await _sync(tablet, cursors))["conversations"] == []
    over_http = await b.request(
        "POST", "/v1/sync", json={"cursors": {single(a, b): 29}, "limit": 1}
    )
    over_socket = await _sync(tablet, {single(a, b): 29}, limit=1)
    for answer in (over_http.json(), over_socket):
        (delta,) = answer["conversations"]
        assert (len(delta["messages"]), answer["has_more"]) == (1, True)


async def test_lists_and_unread_counts(people: People) -> None:
    a, b, c = [await people.new() for _ in range(3)]
    on = a.chat_with(b)
    for i in range(3):
        await a.say(on, f"{i}")
    await a.say(a.chat_with(c), "to c")
    await b.say(b.chat_with(c), "also to c")
    page = await c.get("/v1/conversations", limit=1)
    (first,) = page["items"]
    assert first["last_message"]["content"] == "also to c"
    last = await c.get("/v1/conversations", limit=1, cursor=page["next_cursor"])
    assert (last["items"][0]["conversation_id"], last["next_cursor"]) == (a.chat_with(c), None)
    assert await b.get("/v1/unread") == {"total": 3, "conversations": {on: 3}}
    await until(b, lambda: len(b.shown) == 4)
    await b.client.mark_read(on, 2)
    seen = a.client.conversation(on)
    await until(a, lambda: [seen.state_of(m) for m in seen.messages[1:]] == ["read", "delivered"])
    assert await b.get("/v1/unread") == {"total": 1, "conversations": {on: 1}}
    (mine,) = [
        item
        for item in (await b.get("/v1/conversations"))["items"]
        if item["conversation_id"] == on
    ]
    assert {key: mine[key] for key in ("type", "last_seq", "read_seq", "unread")} == {
        "type": "single",
        "last_seq": 3,
        "read_seq": 2,
        "unread": 1,
    }


async def test_bad_sync_frames_are_refused(new_user: MakeUser, online: Connect) -> None:
    device = await online(await new_user())
    for bad in ({"limit": 501}, {"limit": 0}, {"cursors": {"s:1:2": -1}}, {"cursors": 3}):
        device.frames.clear()
        await device.send(type="sync", **bad)
        assert (await device.wait_for(lambda f: f["type"] == "error"))["code"] == "INVALID_ARGUMENT"


async def test_own_messages_are_found_by_their_text(people: People) -> None:
    a, b, stranger = [await people.new() for _ in range(3)]
    for text in ("明天去北京", "Beijing or bust", "北京很好"):
        await a.say(a.chat_with(b), text)
    page = await b.get("/v1/messages/search", q="北京", limit=1)
    assert [item["content"] for item in page["items"]] == ["北京很好"]
    page = await b.get("/v1/messages/search", q="北京", cursor=page["next_cursor"])
    assert [item["content"] for item in page["items"]] == ["明天去北京"]
    found = await a.get("/v1/messages/search", q="beijing", conversation_id=a.chat_with(b))
    assert [item["content"] for item in found["items"]] == ["Beijing or bust"]
    assert (await stranger.get("/v1/messages/search", q="北京"))["items"] == []
