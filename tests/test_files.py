"""Files across services: who sent what to whom decides who gets it."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

import pytest
from im_clients import People, Person, make_group
from im_people import MakeUser
from PIL import Image

from im_client import ApiError, MessageRefused


def _picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "olive").save(out, "PNG")
    return out.getvalue()


async def _upload(person: Person, content: bytes) -> dict[str, Any]:
    part = ("x", content, "application/octet-stream")
    told: dict[str, Any] = await person.client.http.request(
        "POST", "/v1/files", files={"file": part}
    )
    return told


async def _status(path: str, person: Person) -> int:
    try:
        await person.client.http.content(path)
    except ApiError as error:
        return error.status
    return 200


async def _statuses(path: str, *people: Person) -> list[int]:
    return [await _status(path, person) for person in people]


async def test_a_file_goes_where_its_messages_go(people: People) -> None:
    a, b, c = await people.new(), await people.new(), await people.new()
    content = os.urandom(300_000)
    file = await _upload(a, content)
    assert await _statuses(file["url"], a, b, c) == [200, 404, 404]
    to_b, b_to_c = a.chat_with(b), b.chat_with(c)
    # Who does not see it cannot send it on.
    ext = {"file_id": file["file_id"], "name": "x.bin"}
    with pytest.raises(MessageRefused) as refused:
        await b.say(b_to_c, "", content_type="file", ext=ext)
    assert (refused.value.code, refused.value.field) == ("NOT_FOUND", "ext")
    sent = await a.say(to_b, "", content_type="file", ext=ext)
    assert await b.client.http.content(file["url"]) == content
    await b.say(b_to_c, file["url"])
    assert await _statuses(file["url"], a, b, c) == [200, 200, 200]
    # What is taken back is not to be had by it any more.
    await a.client.recall(sent.message_id)
    assert await _statuses(file["url"], a, b, c) == [200, 200, 200]
    picture = await _upload(a, _picture())
    shown = await a.say(a.chat_with(c), picture["file_id"])
    paths = (picture["url"], picture["thumbnail_url"])
    assert [await _statuses(path, a, b, c) for path in paths] == [[200, 404, 200]] * 2
    await a.client.recall(shown.message_id)
    assert await _statuses(picture["url"], a, b, c) == [200, 404, 404]


async def test_a_groups_files_are_its_members_and_its_picture_is_for_all(people: People) -> None:
    owner, member, stranger = await people.new(), await people.new(), await people.new()
    group_id = await make_group(owner, member)
    file, picture = await _upload(owner, b"minutes"), await _upload(owner, _picture())
    on = owner.client.conversation_of(group_id)
    await owner.say(on, "minutes", ext={"at": file["url"]})
    assert await _statuses(file["url"], owner, member, stranger) == [200, 200, 404]
    path, body = f"/v1/groups/{group_id}", {"avatar": picture["url"]}
    with pytest.raises(ApiError) as refused:
        await member.client.http.patch(path, body)
    assert refused.value.status == 404
    await owner.client.http.patch(path, body)
    assert await _statuses(picture["thumbnail_url"], owner, member, stranger) == [200] * 3


async def test_each_of_many_pictures_gets_a_small_one(new_user: MakeUser) -> None:
    """Some of the processes that make them would be ended while they begin. Without the client, which
    would try again what is answered UNAVAILABLE."""
    user = await new_user()
    at_once = asyncio.Semaphore(4)

    async def upload() -> dict[str, Any]:
        async with at_once:
            response = await user.request("POST", "/v1/files", files={"file": ("x", _picture())})
        assert response.status_code == 201, response.text
        told: dict[str, Any] = response.json()
        return told

    files = await asyncio.gather(*(upload() for _ in range(40)))
    assert [file for file in files if "thumbnail_url" not in file] == []
