"""Finding messages: own ones only, in any language, on every database."""

from __future__ import annotations

from typing import Any

import pytest

from chat_service.logic import own_view, search
from chat_service.logic.search import search_messages
from chat_service.model import messages
from im_common.errors import AppError, Code
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


async def _all(desk: Any, user_id: int, text: str, within: str = "", limit: int = 2) -> list[str]:
    found: list[str] = []
    cursor = ""
    for _ in range(100):
        rows, cursor = await search_messages(
            desk.svc, user_id, text, within, limit=limit, cursor=cursor
        )
        assert len(rows) <= limit
        found += [row.content for row in rows]
        if not cursor:
            return found
    raise AssertionError("never done")


async def test_parts_of_texts_are_found_newest_first(desk: Any) -> None:
    await desk.say(A, B, "今天天气很好", "Meeting at 10点 in 北京", "100% sure_thing", "a/b")
    await desk.say(C, A, "北京的天气呢?", "meeting moved")
    assert await _all(desk, A, "天气") == ["北京的天气呢?", "今天天气很好"]
    assert await _all(desk, A, "meeting") == ["meeting moved", "Meeting at 10点 in 北京"]
    assert await _all(desk, A, "北京 MEETING") == ["Meeting at 10点 in 北京"]
    assert await _all(desk, A, "0%") == await _all(desk, A, "e_t") == ["100% sure_thing"]
    assert await _all(desk, A, "_0") == []
    assert await _all(desk, A, "a/b") == ["a/b"]
    assert await _all(desk, A, "天气", AB) == ["今天天气很好"]


async def test_a_nul_is_a_character_as_any_other(desk: Any) -> None:
    await desk.say(A, B, "plain", "before\x00Behind", "\x00")
    assert await _all(desk, A, "behind") == ["before\x00Behind"]
    assert await _all(desk, A, "E\x00b") == ["before\x00Behind"]
    assert await _all(desk, A, "\x00") == ["\x00", "before\x00Behind"]
    assert await _all(desk, A, "\x00plain") == []


async def test_only_own_and_visible_messages_are_found(desk: Any) -> None:
    places = await desk.say(A, B, "word 1", "word 2", "word 3")
    await own_view.delete_message(desk.svc, B, places[1].message_id)
    await desk.svc.db.write(messages.empty, [(AB, 1)])
    assert await _all(desk, B, "word") == ["word 3"]
    assert await _all(desk, A, "word") == ["word 3", "word 2"]
    assert await _all(desk, C, "word") == []
    await own_view.clear_conversation(desk.svc, B, AB)
    assert await _all(desk, B, "word") == []
    denied = await refusal(search_messages(desk.svc, C, "word", AB, limit=0, cursor=""))
    assert denied.code is Code.PERMISSION_DENIED


@pytest.mark.parametrize("text", ["", "  ", "x" * 257])
async def test_what_cannot_be_searched_is_refused(desk: Any, text: str) -> None:
    with pytest.raises(AppError) as caught:
        await search_messages(desk.svc, A, text, "", limit=0, cursor="")
    assert caught.value.field == "query"


async def test_of_many_words_the_first_eight_are_looked_for(desk: Any) -> None:
    await desk.say(A, B, "one two three four five six seven eight", "one two three")
    words = "one two three four five six seven eight nine ten"
    assert await _all(desk, A, words) == ["one two three four five six seven eight"]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 100])
async def test_a_search_in_many_steps_finds_each_once(
    desk: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SCANNED", most)
    wanted = set[str]()
    for other, count in ((2001, 1), (2002, 9), (2003, 2), (2004, 3), (2005, 1)):
        texts = [f"{'yes' if i % 2 else 'no'} {other}.{i}" for i in range(count)]
        await desk.say(A, other, *texts)
        wanted.update(text for text in texts if "yes" in text)
    found = await _all(desk, A, "yes", limit=3)
    assert sorted(found) == sorted(wanted)
    within = await _all(desk, A, "yes", "s:1001:2002", limit=1)
    assert within == [f"yes 2002.{i}" for i in (7, 5, 3, 1)]
