"""Ids that no column can hold are unknown, or refused by name: never an outage, nor a fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat_service.logic import cursors, overview, own_view, recall, search
from chat_service.logic.cursors import Move
from im_common.domain.paging import write_cursor
from im_common.errors import AppError

A, B = 1001, 1002
# MySQL's columns of text take spaces at the end for nothing.
STRANGE = ["é", "語" * 12, "s:1001:1002é", "s:1001:1002 ", "\x00", "x" * 300]


async def _of(desk: Any, work: Callable[[], Awaitable[Any]]) -> tuple[str, str | None]:
    await desk.say(A, B, "hello")
    with pytest.raises(AppError) as caught:
        await work()
    return caught.value.code.value, caught.value.field


@pytest.mark.parametrize("text", STRANGE)
async def test_no_message_has_such_an_id(desk: Any, text: str) -> None:
    svc = desk.svc
    assert await _of(desk, lambda: recall.recall_message(svc, A, text)) == ("NOT_FOUND", None)
    assert await _of(desk, lambda: own_view.delete_message(svc, A, text)) == ("NOT_FOUND", None)


async def test_an_id_with_a_space_at_its_end_is_another_one(desk: Any) -> None:
    svc, [place] = desk.svc, await desk.say(A, B, "hello")
    text = f"{place.message_id} "
    assert await _of(desk, lambda: recall.recall_message(svc, A, text)) == ("NOT_FOUND", None)
    assert await _of(desk, lambda: own_view.delete_message(svc, A, text)) == ("NOT_FOUND", None)


@pytest.mark.parametrize("text", STRANGE)
async def test_no_conversation_has_such_an_id(desk: Any, text: str) -> None:
    svc = desk.svc
    refused = ("INVALID_ARGUMENT", "conversation_id")
    for work in (
        lambda: overview.get_unread_messages(svc, A, text, 10),
        lambda: own_view.clear_conversation(svc, A, text),
        lambda: own_view.pin_conversation(svc, A, text, pinned=True),
        lambda: cursors.mark_as_read(svc, A, text, 1),
        lambda: search.search_messages(svc, A, "x", text, limit=0, cursor=""),
    ):
        assert await _of(desk, work) == refused


async def test_one_strange_cursor_among_others_is_refused_alone(desk: Any) -> None:
    await desk.say(A, B, "hello")
    moves = [Move(B, "é", 1, 1, 0), Move(B, "s:1001:1002", 1, 1, 0)]
    refused = await cursors.advance_cursors(desk.svc, moves, "")
    assert [(on, error.field) for (_, on), error in refused.items()] == [("é", "conversation_id")]
    assert await overview.get_unread_count(desk.svc, B) == {}


async def test_a_page_begins_at_no_such_place(desk: Any) -> None:
    svc, refused = desk.svc, ("INVALID_ARGUMENT", "cursor")
    for text in ("é", "s:1001:1002 ", "s:1001:1002\n", " "):
        listed = write_cursor(False, 1, text)
        listing = lambda c=listed: overview.list_conversations(svc, A, limit=0, cursor=c)  # noqa: E731
        assert await _of(desk, listing) == refused
        for cursor in (write_cursor(text, 1, ""), write_cursor("", 1, text)):
            found = lambda c=cursor: search.search_messages(svc, A, "x", "", limit=0, cursor=c)  # noqa: E731
            assert await _of(desk, found) == refused
