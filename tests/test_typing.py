"""Typing is told to the other one, unless one of the two has blocked the other."""

from __future__ import annotations

from im_people import Connect, MakeUser, single


async def test_typing_is_told(new_user: MakeUser, online: Connect) -> None:
    a, b = await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b)
    await device_a.send(type="typing", to=b.user_id)
    assert await device_b.wait_for(lambda f: f["type"] == "typing") == {
        "type": "typing",
        "conversation_id": single(a, b),
        "user_id": a.user_id,
    }
    device_b.frames.clear()
    assert (await b.request("PUT", f"/v1/blocks/{a.user_id}")).status_code == 204
    await device_a.send(type="typing", to=b.user_id)
    await device_b.send(type="typing", to=a.user_id)
    # What the two send to others comes later.
    c = await new_user()
    device_c = await online(c)
    for device in (device_a, device_b):
        await device.send(type="typing", to=c.user_id)
    await device_c.wait_count("typing", 2)
    assert not device_b.of("typing")
    assert not device_a.of("typing")
    await device_a.send(type="typing")
    await device_a.wait_for(lambda f: f.get("code") == "INVALID_ARGUMENT")
