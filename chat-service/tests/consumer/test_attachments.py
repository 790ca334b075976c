"""Files that messages name: sent on by those who see them, at the cost of one look a batch."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select, update

from chat_service.model import files, tables
from chat_service.model.files import Kind
from chat_service.model.tables import file_uses
from im.chat.v1.record_pb2 import ChatRecord
from im_common.domain.file_ids import new_file_id
from im_common.testing.queries import counted_queries

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B, C = 1001, 1002, 1003


async def _file(world: World, owner: int) -> str:
    file_id = new_file_id()
    await world.db.write(files.create, file_id, owner_id=owner, now=1)
    assert await world.db.write(files.finish, file_id, Kind(1, "text/plain", 0, 0, 0))
    return file_id


async def _outcomes(world: World, *records: Any) -> list[Any]:
    before = len(world.gateway.answers())
    await world.handle(list(records))
    return [
        (answer["code"], answer["field"]) if answer["type"] == "error" else answer["seq"]
        for answer in world.gateway.answers()[before:]
    ]


async def test_who_does_not_see_a_file_cannot_send_it_and_who_got_it_can(world: World) -> None:
    await world.online(A)
    file_id = await _file(world, A)
    refused = ("NOT_FOUND", "content")
    assert await _outcomes(world, world.record(B, C, file_id)) == [refused]
    assert await _outcomes(world, world.record(A, B, f"/v1/files/{file_id}")) == [1]
    assert await _outcomes(world, world.record(B, C, file_id)) == [1]
    assert await _outcomes(world, world.record(A, B, new_file_id())) == [refused]
    assert [place[0] for place in await world.stored()] == [f"s:{A}:{B}", f"s:{B}:{C}"]


async def test_a_retry_of_what_is_stored_gets_its_place_whatever_holds_by_now(world: World) -> None:
    await world.online(A)
    file_id = await _file(world, A)
    assert await _outcomes(world, world.record(A, B, file_id, client_msg_id="c")) == [1]

    def forget(connection: Any) -> None:
        connection.execute(update(tables.files).values(is_ending=True))
        files.forget(connection, [file_id])

    await world.db.write(forget)
    assert await _outcomes(world, world.record(A, B, file_id, client_msg_id="c")) == [1]
    assert await _outcomes(world, world.record(A, B, file_id)) == [("NOT_FOUND", "content")]


async def test_a_message_that_is_taken_back_shows_its_files_no_more(world: World) -> None:
    await world.online(A)
    file_id = await _file(world, A)
    record = world.record(A, B, file_id)
    await world.handle([record])
    (sent,) = world.gateway.answers()
    assert await world.rows(select(file_uses.c.seq)) == [(1,)]
    await world.handle([world.recall(sent["message_id"], A, f"s:{A}:{B}")])
    assert await world.rows(select(file_uses.c.seq)) == []
    assert await world.db.read(files.visible, [(A, file_id), (B, file_id)]) == {(A, file_id)}


async def test_too_many_files_in_one_message_are_refused(world: World) -> None:
    await world.online(A)
    names = [new_file_id() for _ in range(51)]
    assert await _outcomes(world, world.record(A, B, " ".join(names))) == [
        ("INVALID_ARGUMENT", "content")
    ]
    in_ext = ChatRecord.FromString(world.record(A, B, "x").value).message
    in_ext.content.ext_json = json.dumps({"files": names})
    assert await _outcomes(world, world.wrap(in_ext)) == [("INVALID_ARGUMENT", "ext")]
    # As many as may be are looked for.
    assert await _outcomes(world, world.record(A, B, " ".join(names[:50]))) == [
        ("NOT_FOUND", "content")
    ]
    in_ext.content.ext_json = json.dumps({"files": names[:50]})
    assert await _outcomes(world, world.wrap(in_ext)) == [("NOT_FOUND", "ext")]
    mine = [await _file(world, A) for _ in range(50)]
    assert await _outcomes(world, world.record(A, B, " ".join(mine))) == [1]


async def test_the_look_is_one_for_a_batch_and_none_without_files(
    world: World, placing: Any
) -> None:
    await world.online(A)
    # Who got a file of A's, and sends it on.
    mine = [await _file(world, A) for _ in range(3)]
    await world.handle([world.record(A, B, file_id) for file_id in mine])
    counts = []
    for contents in (["f_", "of_course"] * 10, mine * 10):
        with counted_queries() as statements:
            await world.handle([world.record(B, C, content) for content in contents])
        counts.append(sum(text.startswith("SELECT") for text in statements))
    asked = (await placing(world.db)).count("SELECT")
    # The files, and whether messages show them.
    assert counts == [asked, asked + 2]
