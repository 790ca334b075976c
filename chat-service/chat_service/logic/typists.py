"""Who is typing: told to the others who are connected, never stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from chat_service.logic.apart import apart
from chat_service.logic.notify import Note
from chat_service.svc import ServiceContext
from im.group.v1.group_pb2 import BatchGetSendInfoRequest, GroupSenders
from im_common.domain import frames
from im_common.domain.call_limits import MOST_MOVES
from im_common.domain.ids import group_conversation, single_conversation
from im_common.errors import invalid


@dataclass(frozen=True, slots=True)
class Typing:
    """A user who writes to another one, or to a group (the other is 0)."""

    user_id: int
    to_user_id: int = 0
    group_id: int = 0


async def relay_typing(svc: ServiceContext, typists: Sequence[Typing], gateway: str) -> None:
    """Tells the other user unless one of the two blocked the other, or the other members of a group
    that is not too big. Two calls to other services at most; raises AppError when one is away."""
    if len(typists) > MOST_MOVES:
        raise invalid("typing", f"may be at most {MOST_MOVES}")
    await _tell_users(svc, [typist for typist in typists if typist.to_user_id], gateway)
    await _tell_groups(svc, [typist for typist in typists if typist.group_id], gateway)


async def _tell_users(svc: ServiceContext, typists: Sequence[Typing], gateway: str) -> None:
    pairs = [(typist.user_id, typist.to_user_id) for typist in typists]
    silent = await apart(svc, pairs, friends_only=svc.settings.require_friendship)
    for typist, pair in zip(typists, pairs, strict=True):
        if pair not in silent:
            conversation_id = single_conversation(typist.user_id, typist.to_user_id)
            _tell(svc, typist, conversation_id, [typist.to_user_id], gateway)


async def _tell_groups(svc: ServiceContext, typists: Sequence[Typing], gateway: str) -> None:
    if not typists:
        return
    users: dict[int, set[int]] = defaultdict(set)
    for typist in typists:
        users[typist.group_id].add(typist.user_id)
    asked = [GroupSenders(group_id=g, user_ids=of_one) for g, of_one in users.items()]
    answer = await svc.groups.BatchGetSendInfo(BatchGetSendInfoRequest(groups=asked))
    groups = {group.group_id: group for group in answer.groups}
    for typist in typists:
        group = groups.get(typist.group_id)
        if group is None or typist.user_id not in group.member_ids:
            continue
        conversation_id = group_conversation(typist.group_id)
        # Nobody, when the group is too big.
        told = await svc.audiences.of(conversation_id)
        others = [user_id for user_id in told if user_id != typist.user_id]
        if others:
            _tell(svc, typist, conversation_id, others, gateway)


def _tell(
    svc: ServiceContext,
    typist: Typing,
    conversation_id: str,
    user_ids: Sequence[int],
    gateway: str,
) -> None:
    frame = frames.IsTyping(conversation_id=conversation_id, user_id=typist.user_id)
    note = Note(frames.encode(frame), user_ids, gateway)
    svc.notifier.tell(("typing", typist.user_id, conversation_id), note)
