"""Who hears that somebody is typing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chat_service.config import Settings
from chat_service.logic.audience import MOST_TOLD
from chat_service.logic.typists import Typing, relay_typing
from im_common.domain.call_limits import MOST_MOVES
from im_common.errors import Code
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003


async def test_the_others_are_told_but_not_who_blocked(desk: Any) -> None:
    svc = desk.svc
    desk.friends.blocked = {(A, C)}
    await desk.make(5, A, B, C)
    await desk.make(6, *range(A, A + MOST_TOLD + 1))
    typists = [
        Typing(A, to_user_id=B),
        Typing(A, to_user_id=C),
        Typing(C, to_user_id=A),
        Typing(A, group_id=5),
        Typing(9999, group_id=5),
        Typing(A, group_id=6),
        Typing(A, group_id=7),
    ]
    await relay_typing(svc, typists, "gateway:1")
    frame = {"type": "typing", "user_id": A}
    assert desk.notes.told == [
        ({**frame, "conversation_id": "s:1001:1002"}, [B]),
        ({**frame, "conversation_id": "g:5"}, [B, C]),
    ]


async def test_where_only_friends_may_write_only_friends_are_told(desk: Any) -> None:
    settings = Settings.model_construct(require_friendship=True)
    desk.friends.pairs = {(A, B)}
    typists = [Typing(A, to_user_id=B), Typing(A, to_user_id=C)]
    await relay_typing(replace(desk.svc, settings=settings), typists, "gateway:1")
    assert [told for _, told in desk.notes.told] == [[B]]


async def test_a_group_of_one_and_nobody_at_all_cost_nothing(desk: Any) -> None:
    await desk.make(5, A)
    await relay_typing(desk.svc, [Typing(A, group_id=5)], "gateway:1")
    assert desk.groups.calls == 1
    desk.friends.away = True
    await relay_typing(desk.svc, [], "gateway:1")
    assert desk.groups.calls == 1
    assert desk.notes.told == []


async def test_too_many_typists_are_refused_and_as_many_as_may_be_are_not(desk: Any) -> None:
    many = [Typing(A, to_user_id=2000 + n) for n in range(MOST_MOVES + 1)]
    error = await refusal(relay_typing(desk.svc, many, "gateway:1"))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "typing")
    await relay_typing(desk.svc, many[1:], "gateway:1")
    assert len(desk.notes.told) == MOST_MOVES
