"""Who may read which conversation."""

from __future__ import annotations

from typing import Any

import pytest

from chat_service.logic import history, own_view
from chat_service.logic.history import Bounds
from im_common.errors import Code
from im_common.testing.ids import NO_CONVERSATION_IDS
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


async def _read(desk: Any, user_id: int, conversation_id: str) -> list[str]:
    rows, _ = await history.get_history(desk.svc, user_id, conversation_id, Bounds())
    return [row.content for row in rows]


async def _code(desk: Any, user_id: int, conversation_id: str) -> Code:
    return (await refusal(_read(desk, user_id, conversation_id))).code


async def test_its_members_read_a_conversation_and_nobody_else(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, B, "between us")
    await desk.say(A, 0, "in the group", group=5)
    for user_id in (A, B):
        assert await _read(desk, user_id, "s:1001:1002") == ["between us"]
        assert await _read(desk, user_id, "g:5") == ["in the group"]
    assert await _code(desk, C, "s:1001:1002") is Code.PERMISSION_DENIED
    assert await _code(desk, C, "g:5") is Code.NOT_GROUP_MEMBER
    assert await _code(desk, A, "g:6") is Code.NOT_FOUND
    # Nobody wrote yet.
    assert await _read(desk, A, "s:1001:1009") == []


@pytest.mark.parametrize("conversation_id", ["", *NO_CONVERSATION_IDS])
async def test_an_id_that_is_none_is_named(desk: Any, conversation_id: str) -> None:
    error = await refusal(_read(desk, A, conversation_id))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "conversation_id")


@pytest.mark.parametrize(
    ("bounds", "seqs", "more"),
    [
        ({}, [1, 2, 3, 4, 5], False),
        ({"limit": 2}, [4, 5], True),
        ({"after_seq": 0, "limit": 2}, [1, 2], True),
        ({"after_seq": 0}, [1, 2, 3, 4, 5], False),
        ({"after_seq": 3, "limit": 2}, [4, 5], False),
        ({"after_seq": 5}, [], False),
        ({"before_seq": 0}, [], False),
        ({"before_seq": 1}, [], False),
        ({"before_seq": 3, "limit": 1}, [2], True),
        ({"after_seq": 0, "before_seq": 0}, [], False),
        ({"after_seq": 0, "before_seq": 3, "limit": 1}, [1], True),
        ({"after_seq": 1, "before_seq": 4}, [2, 3], False),
        ({"around_seq": 0, "limit": 2}, [1, 2], True),
        ({"around_seq": 3, "limit": 2}, [2, 3], True),
        ({"around_seq": 9, "limit": 4}, [4, 5], False),
        ({"around_seq": 3, "before_seq": 3}, [1, 2], False),
        ({"around_seq": 3, "before_seq": 0}, [], False),
        ({"around_seq": 0, "after_seq": 0, "limit": 1}, [1], True),
        ({"around_seq": 2, "after_seq": 2}, [3, 4, 5], False),
        ({"before_seq": 2**63 - 1, "after_seq": 0, "limit": 1}, [1], True),
        ({"around_seq": 2**63 - 1, "limit": 2}, [5], False),
    ],
)
async def test_a_page_is_within_its_bounds(
    desk: Any, bounds: dict[str, int], seqs: list[int], more: bool
) -> None:
    await desk.say(A, B, "1", "2", "3", "4", "5")
    rows, has_more = await history.get_history(desk.svc, A, "s:1001:1002", Bounds(**bounds))
    assert ([row.seq for row in rows], has_more) == (seqs, more)


@pytest.mark.parametrize("field", ["before_seq", "after_seq", "around_seq"])
async def test_a_bound_below_the_beginning_is_none(desk: Any, field: str) -> None:
    error = await refusal(history.get_history(desk.svc, A, "s:1001:1002", Bounds(**{field: -1})))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


async def test_an_operator_reads_what_a_conversation_had_for_everybody(desk: Any) -> None:
    await desk.say(A, B, *map(str, range(1, 6)))
    await own_view.clear_conversation(desk.svc, A, AB)

    rows, more = await history.read_reported(desk.svc, AB, 0, 2)
    assert ([row.content for row in rows], more) == (["4", "5"], True)
    rows, more = await history.read_reported(desk.svc, AB, 4, 3)
    assert ([row.content for row in rows], more) == (["1", "2", "3"], False)
    assert (await refusal(history.read_reported(desk.svc, "s:1:2", 0, 0))).code is Code.NOT_FOUND
    error = await refusal(history.read_reported(desk.svc, "none", 0, 0))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "conversation_id")
