"""Cursors: delivered and read, who may move them, who is told."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from chat_service.logic import cursors
from chat_service.logic.audience import MOST_TOLD
from chat_service.logic.cursors import Move
from chat_service.logic.notify import Note, Notifier
from chat_service.model.members import Cursors, new_row, put
from im_common.errors import Code
from im_common.testing.queries import counted_queries
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


async def test_a_cursor_never_moves_back_nor_past_the_last_message(desk: Any) -> None:
    await desk.say(A, B, "1", "2", "3")
    assert await cursors.mark_as_read(desk.svc, B, AB, 2) == 2
    assert await cursors.mark_as_read(desk.svc, B, AB, 1) == 2
    assert await cursors.mark_as_read(desk.svc, B, AB, 99) == 3
    assert [frame["read_seq"] for frame, _ in desk.notes.told] == [2, 3]


async def test_what_is_read_is_delivered_and_both_are_told(desk: Any) -> None:
    await desk.say(A, B, "1", "2", "3")
    await cursors.ack_message(desk.svc, B, AB, 3)
    await cursors.ack_message(desk.svc, B, AB, 3)
    await cursors.mark_as_read(desk.svc, B, AB, 2)
    assert desk.notes.told == [
        (
            {
                "type": "receipt",
                "conversation_id": AB,
                "user_id": B,
                "delivered_seq": 3,
                "read_seq": read,
            },
            [A, B],
        )
        for read in (0, 2)
    ]
    await desk.say(A, B, "4")
    await cursors.mark_as_read(desk.svc, B, AB, 4)
    assert desk.notes.told[-1][0]["delivered_seq"] == 4


async def test_who_answered_and_then_reads_is_told_of(desk: Any) -> None:
    await desk.say(A, B, "1")
    await desk.say(B, A, "2")
    await cursors.mark_as_read(desk.svc, B, AB, 1)
    ((frame, _),) = desk.notes.told
    assert (frame["delivered_seq"], frame["read_seq"]) == (2, 2)


async def test_who_is_blocked_and_who_blocked_hear_nothing_of_each_other(desk: Any) -> None:
    await desk.say(A, B, "1", "2")
    desk.friends.blocked = {(A, B)}
    assert await cursors.mark_as_read(desk.svc, B, AB, 1) == 1
    desk.friends.blocked = {(B, A)}
    assert await cursors.mark_as_read(desk.svc, B, AB, 2) == 2
    # Their own devices do.
    assert [told for _, told in desk.notes.told] == [[B], [B]]


async def test_cursors_do_not_wait_for_friend_service(desk: Any) -> None:
    await desk.say(A, B, "1")
    desk.friends.away = True
    assert await cursors.mark_as_read(desk.svc, B, AB, 1) == 1
    assert [told for _, told in desk.notes.told] == [[B]]


async def test_only_members_move_cursors(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "x", group=5)
    await desk.say(A, B, "x")

    async def code(user_id: int, conversation_id: str, seq: int = 1) -> Code:
        moving = cursors.mark_as_read(desk.svc, user_id, conversation_id, seq)
        return (await refusal(moving)).code

    assert await code(C, AB) is Code.PERMISSION_DENIED
    assert await code(C, "g:5") is Code.NOT_GROUP_MEMBER
    assert await code(A, "g:6") is Code.NOT_FOUND
    assert await code(A, "nonsense") is Code.INVALID_ARGUMENT
    assert await code(A, AB, -1) is Code.INVALID_ARGUMENT
    assert await cursors.mark_as_read(desk.svc, B, "g:5", 1) == 1
    # Two who never wrote to each other have nothing to read.
    assert await cursors.mark_as_read(desk.svc, A, "s:1001:1003", 1) == 0


async def test_a_member_without_a_row_yet_is_asked_for_and_has_nothing_to_read(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "x", group=5)
    assert await cursors.mark_as_read(desk.svc, B, "g:5", 1) == 1
    assert desk.groups.calls == 0
    desk.groups.make(5, A, B, C)
    assert await cursors.mark_as_read(desk.svc, C, "g:5", 1) == 0
    assert desk.groups.calls == 1


async def test_a_batch_moves_what_it_may_and_says_what_not(desk: Any) -> None:
    await desk.say(A, B, "1", "2")
    moves = [
        Move(B, AB, delivered_seq=1),
        Move(B, AB, delivered_seq=2, read_seq=1),
        Move(C, AB, read_seq=1),
        Move(A, "s:1001:1002", read_seq=2),
    ]
    refused = await cursors.advance_cursors(desk.svc, moves, "gateway:1")
    assert {key: error.code for key, error in refused.items()} == {(C, AB): Code.PERMISSION_DENIED}
    told = {f["user_id"]: (f["delivered_seq"], f["read_seq"]) for f, _ in desk.notes.told}
    assert told == {B: (2, 1), A: (2, 2)}


async def test_in_a_group_those_are_told_who_wrote_what_a_cursor_passed(desk: Any) -> None:
    d = 1004
    desk.groups.make(5, A, B, C, d)
    await desk.say(A, 0, "1", "2", group=5)
    await desk.say(B, 0, "3", group=5)
    await desk.say(A, 0, "4", group=5)

    async def told(moving: Awaitable[Any]) -> set[int]:
        before = len(desk.notes.told)
        await moving
        return {user for _, users in desk.notes.told[before:] for user in users}

    # The user's own other devices, too.
    assert await told(cursors.ack_message(desk.svc, C, "g:5", 2)) == {A, C}
    assert await told(cursors.ack_message(desk.svc, C, "g:5", 3)) == {B, C}
    assert await told(cursors.mark_as_read(desk.svc, C, "g:5", 3)) == {A, B, C}
    assert await told(cursors.mark_as_read(desk.svc, d, "g:5", 4)) == {A, B, d}
    # What a cursor stands at that did not move, as its user wrote it.
    assert await told(cursors.mark_as_read(desk.svc, B, "g:5", 3)) == {A, B}
    assert await told(cursors.ack_message(desk.svc, d, "g:5", 4)) == set()
    both = [Move(B, "g:5", delivered_seq=4), Move(C, "g:5", read_seq=4)]
    assert await told(cursors.advance_cursors(desk.svc, both, "")) == {A, B, C}


async def test_who_wrote_long_before_what_a_cursor_has_reached_is_not_told(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes back after a year does not have the whole of it read for that."""
    monkeypatch.setattr(cursors, "MOST_PASSED", 2)
    desk.groups.make(5, A, B, C)
    await desk.say(A, 0, "1", group=5)
    await desk.say(B, 0, "2", "3", group=5)
    await cursors.mark_as_read(desk.svc, C, "g:5", 3)
    assert [set(users) for _, users in desk.notes.told] == [{B, C}]


async def test_the_newest_receipt_goes_also_to_those_whom_an_older_one_was_for() -> None:
    notifier = Notifier(Any, Any)  # type: ignore[arg-type]
    for users in ([A, B], [B, C]):
        notifier.tell("key", Note(str(users).encode(), users))
    (note,) = notifier._waiting.values()
    assert (note.frame, sorted(note.user_ids)) == (str([B, C]).encode(), [A, B, C])


async def test_big_groups_have_no_receipts(desk: Any) -> None:
    desk.groups.make(5, *range(A, A + MOST_TOLD))
    desk.groups.make(6, *range(A, A + MOST_TOLD + 1))
    for group in (5, 6):
        await desk.say(A, 0, "x", group=group)
        await cursors.mark_as_read(desk.svc, B, f"g:{group}", 1)
    assert [frame["conversation_id"] for frame, _ in desk.notes.told] == ["g:5"]


async def test_a_group_is_looked_up_once_for_a_while(desk: Any) -> None:
    await desk.make(5, A, B)
    audiences = desk.svc.audiences
    with counted_queries() as statements:
        for _ in range(3):
            assert sorted(await audiences.of("g:5")) == [A, B]
            assert sorted(await audiences.of(AB)) == [A, B]
    assert len([text for text in statements if text.startswith("SELECT")]) == 1


async def test_the_connection_that_said_it_needs_no_receipt(desk: Any) -> None:
    await desk.say(A, B, "1", "2", "3")

    async def told(*moves: Move) -> tuple[str, int]:
        await cursors.advance_cursors(desk.svc, moves, "gateway:1")
        return desk.notes.notes[-1].gateway, desk.notes.notes[-1].connection_id

    one = [Move(B, AB, delivered_seq=seq, connection_id=7) for seq in (1, 2, 3)]
    other = Move(B, AB, read_seq=1, connection_id=8)
    assert await told(*one[:2]) == ("gateway:1", 7)
    # Said by two of them: each learns what the other one said.
    assert await told(one[2], other) == ("gateway:1", 0)
    assert len(desk.notes.notes) == 2


async def test_of_receipts_in_groups_it_is_said_whose_they_are(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "x", group=5)
    await desk.say(A, B, "x")
    await cursors.mark_as_read(desk.svc, B, "g:5", 1)
    await cursors.mark_as_read(desk.svc, B, AB, 1)
    assert [note.receipt_of for note in desk.notes.notes] == [(B, "g:5"), None]


async def test_who_has_left_reads_up_to_there_and_not_what_came_after(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", "2", "3", group=5)
    left = new_row((B, "g:5"), Cursors(0, 0)) | {"left_seq": 2, "changed_at": 1}
    await desk.svc.db.write(put, [left])
    # A member again of whom the conversation has not been told.
    assert await cursors.mark_as_read(desk.svc, B, "g:5", 3) == 2
    desk.groups.make(5, A)
    error = await refusal(cursors.mark_as_read(desk.svc, B, "g:5", 3))
    assert error.code is Code.NOT_GROUP_MEMBER


async def test_too_many_moves_are_refused_and_as_many_as_may_be_are_not(desk: Any) -> None:
    moves = [Move(B, f"s:{i}:{i + 1}", read_seq=1) for i in range(1, cursors.MOST_MOVES + 2)]
    error = await refusal(cursors.advance_cursors(desk.svc, moves, ""))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "moves")
    refused = await cursors.advance_cursors(desk.svc, moves[1:], "")
    # One of them is of a conversation of the user's.
    assert len(refused) == cursors.MOST_MOVES - 1
