"""Old messages go, the rest of the conversation stays as it was."""

from __future__ import annotations

from typing import Any

import pytest

from chat_service.logic import history, overview, retention, sync
from chat_service.logic.history import Bounds
from im_common.errors import Code
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


@pytest.mark.parametrize("step", [1, 2, 500])
async def test_old_messages_go_and_nothing_moves(
    desk: Any, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", step)
    await desk.say(A, B, *map(str, range(1, 6)), timestamp=1000)
    await desk.say(A, B, "6", timestamp=3000)
    # Older by a wrong clock, behind a younger one: it stays.
    await desk.say(A, B, "7", timestamp=1000)
    await desk.say(A, C, "young", timestamp=3000)
    assert await desk.expire(before_ms=2000) == 5
    assert await desk.expire(before_ms=2000) == 0
    rows, more = await history.get_chat_history(desk.svc, B, A, Bounds())
    assert ([(row.seq, row.content) for row in rows], more) == ([(6, "6"), (7, "7")], False)
    assert await overview.get_unread_count(desk.svc, B) == {AB: 2}
    deltas, more = await sync.sync(desk.svc, B, {AB: 2}, 1)
    assert ([row.seq for row in deltas[0].messages], more) == ([6], True)
    (place,) = await desk.say(A, B, "8")
    assert place.seq == 8


async def test_what_takes_long_is_done_in_parts(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP", 2)
    monkeypatch.setattr(retention, "WITHIN_S", 0.0)
    await desk.say(A, B, *map(str, range(1, 8)), timestamp=1000)
    await desk.say(A, C, "old", timestamp=1000)

    removed, cursor = await retention.expire_page(desk.svc.db, before_ms=2000, cursor="")
    assert (0 < removed < 8, cursor != "") == (True, True)
    assert await desk.expire(before_ms=2000) == 8 - removed


@pytest.mark.parametrize("before_ms", [0, -1, 2**62])
async def test_a_bound_that_has_not_passed_removes_nothing(desk: Any, before_ms: int) -> None:
    error = await refusal(retention.expire_page(desk.svc.db, before_ms=before_ms, cursor=""))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "before")


async def test_a_conversation_may_lose_all_its_messages(desk: Any) -> None:
    await desk.say(A, B, "1", "2", timestamp=1000)
    assert await desk.expire(before_ms=2000) == 2
    assert await sync.sync(desk.svc, B, {}, 0) == ([], False)
    (listed,), _ = await overview.list_conversations(desk.svc, B, limit=0, cursor="")
    assert (listed.standing.last_seq, listed.last_message) == (2, None)
