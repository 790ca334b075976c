"""Lists, unread counts and sync: what a user has, and what a device has missed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, update

from chat_service.logic import cursors, overview, sync
from chat_service.model.members import Cursors, new_row
from chat_service.model.tables import (
    conversation_members,
    conversations,
    deleted_messages,
    messages,
)
from im_common.errors import AppError, Code
from im_common.testing.queries import counted_queries
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


async def _update(desk: Any, table: Any, where: Any, **values: Any) -> None:
    await _execute(desk, update(table).where(where).values(**values))


async def _execute(desk: Any, statement: Any, *rows: Any) -> None:
    await desk.svc.db.write(lambda connection: connection.execute(statement, *rows).close())


async def test_newest_activity_first_pinned_before_all_in_pages(desk: Any) -> None:
    for i in range(7):
        await desk.say(A, 2000 + i, f"to {i}", timestamp=1000 + i // 2)
    t = conversation_members.c
    await _update(
        desk,
        conversation_members,
        (t.user_id == A) & t.conversation_id.in_(["s:1001:2001", "s:1001:2004"]),
        pinned=True,
    )
    found: list[str] = []
    cursor = ""
    while True:
        page, cursor = await overview.list_conversations(desk.svc, A, limit=2, cursor=cursor)
        found += [item.last_message.content for item in page if item.last_message]
        if not cursor:
            break
    assert found == [f"to {i}" for i in (4, 1, 6, 5, 3, 2, 0)]


async def test_a_list_costs_two_queries(desk: Any) -> None:
    for i in range(30):
        await desk.say(A, 2000 + i, "x")
    with counted_queries() as statements:
        await overview.list_conversations(desk.svc, A, limit=20, cursor="")
    assert len([text for text in statements if text.startswith("SELECT")]) == 2


async def test_a_bad_cursor_is_refused(desk: Any) -> None:
    for cursor in ("x", "WzFd"):
        with pytest.raises(AppError) as caught:
            await overview.list_conversations(desk.svc, A, limit=0, cursor=cursor)
        assert caught.value.field == "cursor"


async def test_unread_is_what_came_after_the_cursor(desk: Any) -> None:
    await desk.say(A, B, "1", "2", "3")
    await desk.say(C, B, "x")
    assert await overview.get_unread_count(desk.svc, B) == {AB: 3, "s:1002:1003": 1}
    assert await overview.get_unread_count(desk.svc, A) == {}
    await cursors.mark_as_read(desk.svc, B, AB, 1)
    rows = await overview.get_unread_messages(desk.svc, B, AB, 0)
    assert [row.content for row in rows] == ["2", "3"]
    # An answer reads what came before it.
    await desk.say(B, A, "4")
    assert await overview.get_unread_count(desk.svc, B) == {"s:1002:1003": 1}
    denied = await refusal(overview.get_unread_messages(desk.svc, C, AB, 0))
    assert denied.code is Code.PERMISSION_DENIED


async def test_places_that_a_restored_backup_left_out_are_no_messages(desk: Any) -> None:
    """As deploy/backup leaves them out, twice."""
    await desk.say(A, B, "1", "2", "3")
    c = conversations.c
    # MySQL sets columns one after the other.
    skip = update(conversations).ordered_values(
        (c.skipped, c.skipped + 10),
        (c.skipped_seq, c.last_seq + 10),
        (c.last_seq, c.last_seq + 10),
    )
    await _execute(desk, skip)
    assert await overview.get_unread_count(desk.svc, B) == {AB: 3}
    (item,), _ = await overview.list_conversations(desk.svc, B, limit=0, cursor="")
    assert item.last_message is not None
    assert item.last_message.content == "3"
    await desk.say(A, B, "14")
    await _execute(desk, skip)
    await desk.say(A, B, "25")
    assert await overview.get_unread_count(desk.svc, B) == {AB: 5}
    found: list[int] = []
    has_more = True
    while has_more:
        mine = {AB: found[-1] if found else 0}
        deltas, has_more = await sync.sync(desk.svc, B, mine, 2)
        found += [row.seq for delta in deltas for row in delta.messages]
    assert found == [1, 2, 3, 14, 25]
    await cursors.mark_as_read(desk.svc, B, AB, 2)
    assert await overview.get_unread_count(desk.svc, B) == {AB: 3}
    await cursors.mark_as_read(desk.svc, B, AB, 20)
    assert await overview.get_unread_count(desk.svc, B) == {AB: 1}
    await cursors.mark_as_read(desk.svc, B, AB, 25)
    assert await overview.get_unread_count(desk.svc, B) == {}


async def test_what_is_hidden_or_left_is_not_unread(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", "2", "3", group=5)
    t = conversation_members.c
    mine = (t.user_id == B) & (t.conversation_id == "g:5")
    await _update(desk, conversation_members, mine, min_seq=2)
    assert await overview.get_unread_count(desk.svc, B) == {"g:5": 1}
    await _update(desk, conversation_members, mine, left_seq=3)
    await desk.say(A, 0, "4", group=5)
    assert await overview.get_unread_count(desk.svc, B) == {}
    assert await overview.list_conversations(desk.svc, B, limit=0, cursor="") == ([], "")
    # What came before the user left is still to be had by a device that was away.
    deltas, more = await sync.sync(desk.svc, B, {}, 0)
    assert [row.content for row in deltas[0].messages] == ["3"]
    assert not more


async def _sync_all(
    desk: Any, user_id: int, have: dict[str, int], limit: int
) -> dict[str, list[int]]:
    """As a client does it."""
    got: dict[str, list[int]] = {}
    cursors = dict(have)
    for _ in range(100):
        deltas, more = await sync.sync(desk.svc, user_id, cursors, limit)
        assert sum(len(delta.messages) for delta in deltas) <= (limit or 200)
        for delta in deltas:
            seqs = [row.seq for row in delta.messages]
            got.setdefault(delta.standing.conversation_id, []).extend(seqs)
            cursors[delta.standing.conversation_id] = seqs[-1]
        if not more:
            return got
    raise AssertionError("never done")


@pytest.mark.parametrize("limit", [1, 3, 7, 0, 500])
async def test_sync_gives_all_that_is_missing_once_and_in_order(desk: Any, limit: int) -> None:
    for i in range(5):
        await desk.say(A, 2000 + i, *map(str, range(4)))
    await desk.say(B, A, *map(str, range(20)))
    have = {AB: 12, "s:1001:2000": 4, "s:1001:2001": 1, "s:7:8": 3, "nonsense": 1}
    assert await _sync_all(desk, A, have, limit) == {
        AB: list(range(13, 21)),
        "s:1001:2001": [2, 3, 4],
        **{f"s:1001:{2000 + i}": [1, 2, 3, 4] for i in (2, 3, 4)},
    }


async def test_sync_gets_over_what_is_deleted_and_expired(desk: Any) -> None:
    await desk.say(B, A, *map(str, range(30)))
    await desk.say(C, A, *map(str, range(30)))
    rows = [{"conversation_id": AB, "seq": s, "user_id": A} for s in range(3, 28)]
    rows += [{"conversation_id": "s:1001:1003", "seq": s, "user_id": A} for s in range(20, 31)]
    await _execute(desk, insert(deleted_messages), rows)
    m = messages.c
    await _execute(desk, messages.delete().where(m.conversation_id == "s:1001:1003", m.seq <= 10))
    is_third = conversations.c.conversation_id == "s:1001:1003"
    await _update(desk, conversations, is_third, expired_seq=10)
    wanted = {AB: [1, 2, 28, 29, 30], "s:1001:1003": list(range(11, 20))}
    for limit in (1, 2, 5, 100):
        assert await _sync_all(desk, A, {}, limit) == wanted


async def test_an_answer_is_bounded_in_bytes(desk: Any) -> None:
    big = "\x01" * 10_000
    await desk.say(B, A, *[big] * 30)
    await desk.say(C, A, "small")
    deltas, more = await sync.sync(desk.svc, A, {}, 500)
    assert more
    assert 5 <= sum(len(delta.messages) for delta in deltas) <= 10
    got = await _sync_all(desk, A, {}, 500)
    assert got == {AB: list(range(1, 31)), "s:1001:1003": [1]}


async def test_sync_takes_20_000_cursors_by_one_look_at_the_conversations(desk: Any) -> None:
    ids = [f"s:{A}:{2000 + n}" for n in range(20_000)]
    mine = ids[::20]
    at = {"type": 1, "last_seq": 3, "last_message_id": "m", "last_message_at": 1}
    await _execute(desk, insert(conversations), [{"conversation_id": one, **at} for one in mine])
    rows = [new_row((A, one), Cursors(0, 0)) for one in mine]
    await _execute(desk, insert(conversation_members), rows)
    await desk.say(A, 2000, "4")
    await desk.say(A, 21_980, "4")
    with counted_queries() as statements:
        deltas, more = await sync.sync(desk.svc, A, dict.fromkeys(ids, 3), 0)
    found = [(delta.standing.conversation_id, delta.messages[0].seq) for delta in deltas]
    assert (sorted(found), more) == ([(mine[0], 4), (mine[-1], 4)], False)
    assert len([text for text in statements if text.startswith("SELECT")]) == 2
    refused = await refusal(sync.sync(desk.svc, A, dict.fromkeys(range(20_001), 0), 0))
    assert (refused.code, refused.field) == (Code.INVALID_ARGUMENT, "cursors")


async def test_sync_costs_a_query_for_fifty_conversations(desk: Any) -> None:
    for i in range(60):
        await desk.say(A, 2000 + i, "x")
    with counted_queries() as statements:
        deltas, more = await sync.sync(desk.svc, A, {}, 0)
    assert (len(deltas), more) == (60, False)
    assert len([text for text in statements if text.startswith("SELECT")]) == 3
