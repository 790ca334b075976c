"""Recalls and group changes, among the messages of a batch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from chat_service.logic import overview
from chat_service.model.tables import RECALLED, conversation_members, messages
from chat_service.mq.entry import Entry
from chat_service.mq.group_change import ChangeEntry, Changes
from chat_service.mq.policy import Facts
from chat_service.mq.recall import RecallEntry, Recalls
from im.chat.v1.record_pb2 import GroupChange, Recall
from im.group.v1.group_pb2 import GroupSendInfo
from im_common.bus import Record
from im_common.testing.queries import counted_queries

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"
RECORD = Record("t", 0, "0", b"", b"", {})
WINDOW_MS = 120_000


def _recall(message_id: str, by: int, conversation_id: str = AB, *, at: int = 0) -> RecallEntry:
    recall = Recall(
        message_id=message_id, conversation_id=conversation_id, user_id=by, timestamp=at
    )
    return RecallEntry(record=RECORD, recall=recall)


async def _code(desk: Any, item: RecallEntry, *groups: GroupSendInfo) -> str:
    facts = Facts(groups={group.group_id: group for group in groups})
    await Recalls(desk.svc.db, WINDOW_MS).apply([item], facts)
    return item.error.code.value if item.error else "done"


async def _content(desk: Any, message_id: str) -> tuple[str, Any, Any, int]:
    t = messages.c
    query = select(t.content, t.ext, t.mentions, t.status).where(t.message_id == message_id)
    return tuple(await desk.svc.db.read(lambda connection: connection.execute(query).one()))


async def test_its_sender_takes_a_message_back_and_nothing_of_it_is_left(desk: Any) -> None:
    (place,) = await desk.say(A, B, "secret", ext_json='{"a":1}', mentions=[B], timestamp=1000)
    item = _recall(place.message_id, A, at=1000 + WINDOW_MS)
    assert await _code(desk, item) == "done"
    assert item.message_seq == 1
    assert await _content(desk, place.message_id) == ("", None, None, RECALLED)
    # Again, and long after: it stays done.
    assert await _code(desk, _recall(place.message_id, A, at=10**12)) == "done"


async def test_who_may_not_take_a_message_back_is_told_why(desk: Any) -> None:
    (place,) = await desk.say(A, B, "x", timestamp=1000)
    late = 1001 + WINDOW_MS
    assert await _code(desk, _recall(place.message_id, A, at=late)) == "RECALL_WINDOW_PASSED"
    assert await _code(desk, _recall(place.message_id, B, at=1000)) == "PERMISSION_DENIED"
    assert await _code(desk, _recall("none", A, at=1000)) == "NOT_FOUND"
    elsewhere = _recall(place.message_id, A, "s:1001:1003", at=1000)
    assert await _code(desk, elsewhere) == "NOT_FOUND"
    assert (await _content(desk, place.message_id))[0] == "x"


async def test_managers_of_a_group_may_at_any_time(desk: Any) -> None:
    desk.groups.make(5, A, B, C, managers=[B])
    (place,) = await desk.say(A, 0, "x", group=5, timestamp=1000)

    async def code(by: int, members: list[int]) -> str:
        item = _recall(place.message_id, by, "g:5", at=10**12)
        group = GroupSendInfo(group_id=5, member_ids=members, manager_ids=[B])
        return await _code(desk, item, group)

    assert await code(C, [A, B, C]) == "PERMISSION_DENIED"
    assert await code(A, [A, B, C]) == "RECALL_WINDOW_PASSED"
    assert await code(A, [B, C]) == "NOT_GROUP_MEMBER"
    assert await code(B, [A, B, C]) == "done"
    gone = _recall(place.message_id, B, "g:5")
    assert await _code(desk, gone) == "NOT_FOUND"


async def test_many_recalls_cost_two_statements(desk: Any) -> None:
    places = await desk.say(A, B, *map(str, range(50)), timestamp=1000)
    items = [_recall(place.message_id, A, at=1000) for place in places]
    with counted_queries() as statements:
        await Recalls(desk.svc.db, WINDOW_MS).apply(items, Facts())
    kinds = [text.split()[0] for text in statements]
    assert [kind for kind in kinds if kind != "BEGIN"] == ["SELECT", "UPDATE"]
    assert not [item for item in items if item.error]


def _change(at: int, **fields: Any) -> ChangeEntry:
    return ChangeEntry(record=RECORD, change=GroupChange(group_id=5, timestamp=at, **fields))


async def _standing(desk: Any, user_id: int) -> tuple[int, int | None] | None:
    t = conversation_members.c
    query = select(t.min_seq, t.left_seq).where(t.user_id == user_id, t.conversation_id == "g:5")
    row = await desk.svc.db.read(lambda connection: connection.execute(query).first())
    return None if row is None else (row[0], row[1])


async def test_who_joins_sees_what_comes_then_and_who_leaves_no_more(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", "2", group=5)
    await Changes(desk.svc.db).apply([_change(10, joined_user_ids=[C], left_user_ids=[B])], Facts())
    await desk.say(A, 0, "3", group=5)
    assert await _standing(desk, C) == (2, None)
    assert await _standing(desk, B) == (0, 2)
    assert await overview.get_unread_count(desk.svc, C) == {"g:5": 1}
    assert await overview.get_unread_count(desk.svc, B) == {}


async def test_a_change_that_comes_again_hides_nothing(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", group=5)
    left, joined = _change(10, left_user_ids=[B]), _change(11, joined_user_ids=[B])
    for _ in range(2):
        await Changes(desk.svc.db).apply([left, joined], Facts())
        await desk.say(A, 0, "later", group=5)
        assert await _standing(desk, B) == (1, None)
    # Members from the start are there already when the group tells of them.
    await Changes(desk.svc.db).apply([_change(12, joined_user_ids=[A])], Facts())
    assert await _standing(desk, A) == (0, None)


async def test_a_dismissed_group_is_left_by_all(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", group=5)
    await Changes(desk.svc.db).apply([_change(10, dismissed=True)], Facts())
    assert await _standing(desk, A) == await _standing(desk, B) == (0, 1)


async def test_a_change_before_the_first_message_needs_no_rows(desk: Any) -> None:
    await Changes(desk.svc.db).apply([_change(10, joined_user_ids=[A, B])], Facts())
    assert await _standing(desk, A) is None


async def test_a_change_has_its_place_among_the_messages_of_its_batch(desk: Any) -> None:
    desk.groups.make(5, A, B)
    items = desk.items(A, 0, "1", "2", "3", group=5)
    await desk.store(items)
    entries: list[Entry] = [items[0], _change(10, joined_user_ids=[C]), *items[1:]]
    await Changes(desk.svc.db).apply(entries, Facts())
    assert await _standing(desk, C) == (1, None)
    entries = [_change(11, joined_user_ids=[1004]), items[1]]
    await Changes(desk.svc.db).apply(entries, Facts())
    assert await _standing(desk, 1004) == (1, None)
