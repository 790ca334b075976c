"""Cursors move, and those whom it concerns are told."""

from __future__ import annotations

import asyncio
from functools import partial

from im_people import Connect, Device, Frame, MakeUser, User, make_group, single

from im_common.testing.waiting import eventually


def _receipt(by: User, **seqs: int) -> Frame:
    return {"type": "receipt", "user_id": by.user_id, **seqs}


def _matches(frame: Frame, wanted: Frame) -> bool:
    return all(frame.get(name) == value for name, value in wanted.items())


async def test_the_sender_hears_of_delivered_and_read(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    device_a, phone, laptop = await online(a), await online(b), await online(b)
    for i in range(5):
        await device_a.ask(to=b.user_id, content=str(i))
    await phone.wait_count("message", 5)
    for seq in range(1, 6):
        await phone.send(type="ack", conversation_id=single(a, b), seq=seq)
    delivered = _receipt(b, delivered_seq=5, read_seq=0)
    assert await device_a.wait_for(lambda f: _matches(f, delivered)) == {
        **delivered,
        "conversation_id": single(a, b),
    }
    await phone.send(type="read", conversation_id=single(a, b), seq=4)
    read = _receipt(b, delivered_seq=5, read_seq=4)
    await device_a.wait_for(lambda f: _matches(f, read))
    # The user's other device hears of it too; the one that said so does not.
    await laptop.wait_for(lambda f: _matches(f, read))
    assert not phone.of("receipt")


async def test_read_over_http_is_told_and_stays_in_bounds(
    new_user: MakeUser, online: Connect
) -> None:
    a, b, stranger = await new_user(), await new_user(), await new_user()
    device_a = await online(a)
    await device_a.ask(to=b.user_id, content="x")
    path = f"/v1/conversations/{single(a, b)}/read"
    assert (await b.request("POST", path, json={"seq": 1000})).status_code == 204
    await device_a.wait_for(lambda f: _matches(f, _receipt(b, delivered_seq=1, read_seq=1)))
    response = await stranger.request("POST", path, json={"seq": 1})
    assert (response.status_code, response.json()["code"]) == (403, "PERMISSION_DENIED")


async def test_strangers_get_an_error_frame(new_user: MakeUser, online: Connect) -> None:
    a, b, stranger = await new_user(), await new_user(), await new_user()
    group_id = await make_group(a, b)
    device_a, device = await online(a), await online(stranger)
    await device_a.ask(group_id=group_id, content="x")
    await device.send(type="read", conversation_id=f"g:{group_id}", seq=1)
    await device.wait_for(lambda f: f.get("code") == "NOT_GROUP_MEMBER")
    await device.send(type="ack", conversation_id=single(a, b), seq=1, client_msg_id="c-1")
    refused = await device.wait_for(lambda f: f.get("code") == "PERMISSION_DENIED")
    assert refused["client_msg_id"] == "c-1"
    assert not device_a.of("receipt")


async def test_acks_of_a_flood_end_in_the_last_seq(new_user: MakeUser, online: Connect) -> None:
    """Cursors and messages write the same rows at the same time."""
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    count = 300

    async def talk(device: Device, to: User) -> None:
        for i in range(count):
            await device.send(type="chat", to=to.user_id, content=str(i))
        acked = 0
        while acked < count:
            messages = await device.wait_count("message", acked + 1)
            for message in messages[acked:]:
                await device.send(type="ack", conversation_id=single(a, b), seq=message["seq"])
            acked = len(messages)
        last = max(message["seq"] for message in device.of("message"))
        await device.send(type="read", conversation_id=single(a, b), seq=last)

    await asyncio.gather(talk(device_a, b), talk(device_b, a))
    assert not device_a.of("error") + device_b.of("error")

    async def all_read() -> bool:
        return all([(await user.get("/v1/unread"))["total"] == 0 for user in (a, b)])

    await eventually(all_read)
    # Each is told of the other's cursor, at the latest with the last one.
    for device, other in ((device_a, b), (device_b, a)):
        done = _receipt(other, read_seq=2 * count)
        await device.wait_for(partial(_matches, wanted=done))
