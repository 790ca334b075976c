"""Who hears that somebody is typing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chat_service.logic.audience import MOST_TOLD
from chat_service.logic.typists import Typing, relay_typing
from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, BatchIsBlockedResponse

A, B, C = 1001, 1002, 1003


class Friends:
    """C has blocked everybody."""

    async def BatchIsBlocked(self, request: BatchIsBlockedRequest) -> BatchIsBlockedResponse:
        return BatchIsBlockedResponse(blocked=[pair.target_id == C for pair in request.pairs])


async def test_the_others_are_told_but_not_who_blocked(desk: Any) -> None:
    svc = replace(desk.svc, friends=Friends())
    desk.groups.make(5, A, B, C)
    desk.groups.make(6, *range(A, A + MOST_TOLD + 1))
    typists = [
        Typing(A, to_user_id=B),
        Typing(A, to_user_id=C),
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
