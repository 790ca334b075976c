"""Recalls, among the messages of a batch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from chat_service.model.tables import RECALLED, messages
from chat_service.mq.entry import NOBODY
from chat_service.mq.policy import Facts
from chat_service.mq.recall import RecallEntry, Recalls
from im.chat.v1.record_pb2 import Recall
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
    return RecallEntry(RECORD, NOBODY, recall)


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


async def test_many_recalls_cost_four_statements(desk: Any) -> None:
    places = await desk.say(A, B, *map(str, range(50)), timestamp=1000)
    items = [_recall(place.message_id, A, at=1000) for place in places]
    with counted_queries() as statements:
        await Recalls(desk.svc.db, WINDOW_MS).apply(items, Facts())
    kinds = [text.split()[0] for text in statements]
    assert [kind for kind in kinds if kind != "BEGIN"] == [
        "SELECT",
        "UPDATE",
        "INSERT",
        "SELECT",  # files that they named
    ]
    assert not [item for item in items if item.error]
