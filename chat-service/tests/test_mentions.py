"""The oldest unread message that mentions somebody."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from chat_service.logic import cursors, overview, own_view, save
from chat_service.model import messages
from chat_service.model.tables import conversation_members, mentions
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import NewMessage
from im_common.testing.queries import counted_queries

A, B, C = 1001, 1002, 1003
AB, G = "s:1001:1002", "g:5"


async def _mentioned(desk: Any, user_id: int) -> dict[str, int | None]:
    listed, _ = await overview.list_conversations(desk.svc, user_id, limit=0, cursor="")
    return {item.standing.conversation_id: item.mentioned_seq for item in listed}


async def _rows(desk: Any) -> int:
    query = select(func.count()).select_from(mentions)
    return int(await desk.svc.db.read(lambda connection: connection.execute(query).scalar_one()))


async def test_reading_goes_from_one_to_the_next(desk: Any) -> None:
    desk.groups.make(5, A, B, C)
    await desk.say(A, 0, "1", group=5)
    await desk.say(A, 0, "2", group=5, mentions=[B])
    await desk.say(C, 0, "3", group=5, mentions_all=True)
    await desk.say(A, B, "1", "2", mentions=[B])
    assert await _mentioned(desk, B) == {G: 2, AB: 1}
    # Who wrote has read up to there.
    assert await _mentioned(desk, A) == {G: 3, AB: None}
    assert await _mentioned(desk, C) == {G: None}
    await cursors.mark_as_read(desk.svc, B, G, 1)
    assert await _mentioned(desk, B) == {G: 2, AB: 1}
    await cursors.mark_as_read(desk.svc, B, G, 2)
    await cursors.mark_as_read(desk.svc, B, AB, 1)
    assert await _mentioned(desk, B) == {G: 3, AB: 2}
    await cursors.mark_as_read(desk.svc, B, G, 3)
    await desk.say(B, A, "3")
    assert await _mentioned(desk, B) == {G: None, AB: None}


async def test_all_of_a_group_are_one_row(desk: Any) -> None:
    desk.groups.make(5, *range(A, A + 700))
    await desk.say(A, 0, "1", group=5, mentions_all=True, mentions=[B, C])
    await desk.say(A, 0, "2", group=5, mentions=[A, B, B, C])
    assert await _rows(desk) == 3
    assert await _mentioned(desk, A + 699) == {G: 1}


async def test_what_is_taken_back_or_deleted_mentions_nobody(desk: Any) -> None:
    desk.groups.make(5, A, B, C)
    places = await desk.say(A, 0, *"1234", group=5, mentions_all=True)
    await desk.svc.db.write(messages.empty, [(G, 1)])
    assert await _mentioned(desk, B) == {G: 2}
    await own_view.delete_message(desk.svc, B, places[1].message_id)
    assert await _mentioned(desk, B) == {G: 3}
    assert await _mentioned(desk, C) == {G: 2}
    await own_view.clear_conversation(desk.svc, B, G)
    assert await _mentioned(desk, B) == {G: None}
    await desk.say(A, 0, "5", group=5, mentions=[B])
    assert await _mentioned(desk, B) == {G: 5}
    assert await _mentioned(desk, C) == {G: 2}


async def test_who_comes_again_is_mentioned_by_nothing_of_before(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", "2", group=5, mentions=[B])
    t = conversation_members.c
    of_b = update(conversation_members).where(t.user_id == B)

    async def change(**values: Any) -> None:
        await desk.svc.db.write(lambda c: c.execute(of_b.values(**values)).close())

    await change(left_seq=2)
    assert await _mentioned(desk, B) == {}
    await change(left_seq=None, min_seq=2)
    assert await _mentioned(desk, B) == {G: None}
    await desk.say(A, 0, "3", group=5, mentions=[B])
    assert await _mentioned(desk, B) == {G: 3}


async def test_what_is_removed_by_age_takes_its_mentions_along(desk: Any) -> None:
    await desk.say(A, B, "old", mentions=[B], timestamp=1000)
    await desk.say(A, B, "young", mentions=[B], timestamp=3000)
    assert await _rows(desk) == 2
    await desk.expire(before_ms=2000)
    assert (await _mentioned(desk, B), await _rows(desk)) == ({AB: 2}, 1)


async def test_a_list_asks_once_however_many_conversations_there_are(desk: Any) -> None:
    for i in range(30):
        await desk.say(2000 + i, A, "1", "2", mentions=[A])
    await cursors.mark_as_read(desk.svc, A, "s:1001:2003", 1)
    with counted_queries() as statements:
        found = await _mentioned(desk, A)
    assert found == {f"s:1001:{2000 + i}": 2 if i == 3 else 1 for i in range(30)}
    assert len([text for text in statements if text.startswith("SELECT")]) == 3


@pytest.mark.parametrize("group_id", [0, 5])
async def test_a_saved_message_mentions_members_only(desk: Any, group_id: int) -> None:
    desk.groups.make(5, A, B)
    message = NewMessage(sender_id=A, content=Content(content="x", mentions=[B, C]))
    if group_id:
        message.group_id = group_id
    else:
        message.to_user_id = B
    await save.save_message(desk.svc, message)
    assert await _mentioned(desk, B) == {G if group_id else AB: 1}
    assert await _rows(desk) == 1
