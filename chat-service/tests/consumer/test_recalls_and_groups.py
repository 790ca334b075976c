"""Recalls, and messages of groups: members, changes and mentions."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from chat_service.model.tables import conversation_members, conversations, mentions
from im.chat.v1.record_pb2 import ChatRecord
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import Route, RouteTable

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B, C = 1001, 1002, 1003


async def test_a_group_message_is_stored_once_and_big_groups_have_no_copies(world: World) -> None:
    await world.make(5, A, B, C)
    await world.make(6, A, B, C, 1004)
    await world.handle(
        [world.record(A, 0, "small", group_id=5), world.record(A, 0, "big", group_id=6)]
    )
    assert await world.stored() == [("g:5", 1, "small"), ("g:6", 1, "big")]
    assert [f["content"] for f in await world.offline(B)] == ["small"]
    assert await world.offline(A) == []
    t = conversation_members.c
    query = select(t.user_id, t.read_seq).where(t.conversation_id == "g:5").order_by(t.user_id)
    members = await world.rows(query)
    assert await world.rows(select(conversations.c.last_seq)) == [(1,), (1,)]
    assert members == [(A, 1), (B, 0), (C, 0)]


async def test_a_recall_is_told_to_all_in_its_place_and_kept_for_the_absent(world: World) -> None:
    await world.online(B)
    await world.online(A, connection_id=77)
    await world.handle([world.record(A, B, "first")])
    message_id = world.gateway.answers()[0]["message_id"]
    recall = world.recall(message_id, A, "s:1001:1002")
    for _ in range(2):
        await world.handle([world.record(A, B, "x"), recall, world.record(A, B, "y")])
        wanted = {"type": "recalled", "seq": 1, "message_id": message_id, "by": A}
        assert world.gateway.answers()[-2] == {**wanted, "conversation_id": "s:1001:1002"}
        kinds = [f["type"] for f in world.gateway.delivered(B)][-3:]
        assert kinds == ["message", "recalled", "message"]
        # The device that asked gets it too.
        assert world.gateway.delivered(A)[-1]["type"] == "recalled"
    assert (await world.stored())[0] == ("s:1001:1002", 1, "")
    world.gateway.users.clear()
    await RouteTable(world.redis).remove(B, Route(world.gateway.address, 1, "web", "d"))
    await world.handle([recall])
    assert [f["type"] for f in await world.offline(B)] == ["recalled"]
    assert await world.offline(A) == []


async def test_a_recall_is_kept_for_the_devices_that_are_away(world: World) -> None:
    log, devices = RecallLog(world.redis), [(A, "phone"), (B, "phone"), (C, "phone")]
    for device in devices:
        await log.missed(*device)
    await world.make(6, A, B, C, 1004, managers=[A])
    await world.online(B)
    await world.handle([world.record(A, B, "x"), world.record(A, 0, "big", group_id=6)])
    single, big = (answer["message_id"] for answer in world.gateway.answers())

    async def look(request: Any) -> None:
        told.append(request.answers and await log.missed(B, "phone"))

    told: list[Any] = []
    world.gateway.before = look
    await world.handle([world.recall(single, A, "s:1001:1002"), world.recall(big, A, "g:6")])
    missed = [await log.missed(*device) for device in devices]
    # B's other device was told, and A's other devices get it too; a big group's members sync.
    assert [[msgspec.json.decode(frame)["message_id"] for frame in of] for of in missed] == [
        [single],
        [single],
        [],
    ]
    # Before anybody was told, so that a device that comes in between misses nothing.
    assert told == [missed[1]]


async def test_recalls_of_a_group_ask_for_it_together_with_the_messages(world: World) -> None:
    await world.make(5, A, B, C, managers=[B])
    await world.online(C)
    await world.handle([world.record(A, 0, "x", group_id=5)])
    message_id = world.gateway.answers()[0]["message_id"]
    calls = world.owners.calls
    await world.handle(
        [
            world.recall(message_id, C, "g:5"),
            world.record(A, 0, "y", group_id=5),
            world.recall(message_id, B, "g:5"),
        ]
    )
    assert world.owners.calls == calls + 1
    assert [f.get("code", f["type"]) for f in world.gateway.answers()[1:]] == [
        "sent",
        "recalled",
        "PERMISSION_DENIED",
    ]
    assert [f["type"] for f in world.gateway.delivered(C)] == ["message", "message", "recalled"]


async def test_mentions_of_strangers_are_dropped(world: World) -> None:
    await world.make(5, A, B)
    await world.online(B)
    record = ChatRecord.FromString(world.record(A, 0, "x", group_id=5).value)
    record.message.content.mentions.extend([C, B])
    await world.handle([world.wrap(record.message)])
    (frame,) = world.gateway.delivered(B)
    assert frame["mentions"] == [B]


async def test_all_is_for_owner_and_admins(world: World) -> None:
    await world.make(5, A, B, C, managers=[A])
    await world.online(B)

    def to_all(sender: int) -> Any:
        record = ChatRecord.FromString(world.record(sender, 0, "x", group_id=5).value)
        record.message.content.mentions.append(B)
        record.message.content.mentions_all = True
        return world.wrap(record.message)

    by_owner = to_all(A)
    await world.handle([by_owner, to_all(C), to_all(1004)])
    sent, *refused = world.gateway.answers()
    assert [(answer["code"], answer.get("field")) for answer in refused] == [
        ("PERMISSION_DENIED", "mentions"),
        ("NOT_GROUP_MEMBER", None),
    ]
    (frame,) = world.gateway.delivered(B)
    assert frame["mentions"] == ["all", B]
    assert (await world.offline(C))[0]["mentions"] == ["all", B]
    rows = select(mentions.c.user_id, mentions.c.seq)
    assert await world.rows(rows) == [(0, 1)]
    # What is stored is known again, whoever may do it by now.
    world.owners.groups[5].ClearField("manager_ids")
    await world.handle([by_owner])
    assert world.gateway.answers()[-1] == sent
