"""Files across services: who sent what to whom decides who gets it."""

from __future__ import annotations

import asyncio
import io
import os

from im_people import Connect, MakeUser, User, make_group
from PIL import Image


def _picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "olive").save(out, "PNG")
    return out.getvalue()


async def _upload(user: User, content: bytes) -> dict[str, object]:
    response = await user.request("POST", "/v1/files", files={"file": ("x", content)})
    assert response.status_code == 201, response.text
    told: dict[str, object] = response.json()
    return told


async def _statuses(path: object, *users: User) -> list[int]:
    return [(await user.request("GET", str(path))).status_code for user in users]


async def test_a_file_goes_where_its_messages_go(new_user: MakeUser, online: Connect) -> None:
    a, b, c = await new_user(), await new_user(), await new_user()
    content = os.urandom(300_000)
    file = await _upload(a, content)
    assert await _statuses(file["url"], a, b, c) == [200, 404, 404]
    device_a, device_b = await online(a), await online(b)
    # Who does not see it cannot send it on.
    ext = {"file_id": file["file_id"], "name": "x.bin"}
    refused = await device_b.ask(to=c.user_id, content_type="file", content="", ext=ext)
    assert (refused["code"], refused["field"]) == ("NOT_FOUND", "ext")
    sent = await device_a.ask(to=b.user_id, content_type="file", content="", ext=ext)
    assert sent["type"] == "sent"
    response = await b.request("GET", str(file["url"]))
    assert (response.status_code, response.content) == (200, content)
    assert (await device_b.ask(to=c.user_id, content=file["url"]))["type"] == "sent"
    assert await _statuses(file["url"], a, b, c) == [200, 200, 200]
    # What is taken back is not to be had by it any more.
    await device_a.send(type="recall", message_id=sent["message_id"])
    await device_a.wait_for(lambda f: f["type"] == "recalled")
    assert await _statuses(file["url"], a, b, c) == [200, 200, 200]
    picture = await _upload(a, _picture())
    response = await a.request(
        "POST", "/v1/messages", json={"to": c.user_id, "content": picture["file_id"]}
    )
    assert response.status_code == 201, response.text
    paths = (picture["url"], picture["thumbnail_url"])
    assert [await _statuses(path, a, b, c) for path in paths] == [[200, 404, 200]] * 2
    taken = await a.request("POST", f"/v1/messages/{response.json()['message_id']}/recall")
    assert taken.status_code == 200
    assert await _statuses(picture["url"], a, b, c) == [200, 404, 404]


async def test_a_groups_files_are_its_members_and_its_picture_is_for_all(
    new_user: MakeUser, online: Connect
) -> None:
    owner, member, stranger = await new_user(), await new_user(), await new_user()
    group_id = await make_group(owner, member)
    file, picture = await _upload(owner, b"minutes"), await _upload(owner, _picture())
    device = await online(owner)
    sent = await device.ask(group_id=group_id, content="minutes", ext={"at": file["url"]})
    assert sent["type"] == "sent", sent
    assert await _statuses(file["url"], owner, member, stranger) == [200, 200, 404]
    body = {"avatar": picture["url"]}
    assert (await member.request("PATCH", f"/v1/groups/{group_id}", json=body)).status_code == 404
    response = await owner.request("PATCH", f"/v1/groups/{group_id}", json=body)
    assert response.status_code == 200, response.text
    assert await _statuses(picture["thumbnail_url"], owner, member, stranger) == [200] * 3


async def test_each_of_many_pictures_gets_a_small_one(new_user: MakeUser) -> None:
    """Some of the processes that make them would be ended while they begin."""
    user = await new_user()
    at_once = asyncio.Semaphore(4)

    async def upload() -> dict[str, object]:
        async with at_once:
            return await _upload(user, _picture())

    files = await asyncio.gather(*(upload() for _ in range(40)))
    assert [file for file in files if "thumbnail_url" not in file] == []
