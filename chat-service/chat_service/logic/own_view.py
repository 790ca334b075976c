"""What a member changes for itself alone: the others see what they saw."""

from __future__ import annotations

from chat_service.logic import membership
from chat_service.model import members, messages
from chat_service.svc import ServiceContext
from im_common.errors import not_found

# All raise AppError INVALID_ARGUMENT, PERMISSION_DENIED, NOT_GROUP_MEMBER or NOT_FOUND.


async def delete_message(svc: ServiceContext, user_id: int, message_id: str) -> None:
    """Hides one message."""
    found = (await svc.db.read(messages.facts, {message_id})).get(message_id)
    if found is None:
        raise not_found("message")
    await _last_seq(svc, user_id, found.conversation_id)
    await svc.db.write(messages.hide, user_id, found.conversation_id, found.seq)


async def clear_conversation(svc: ServiceContext, user_id: int, conversation_id: str) -> int:
    """Hides all there is, and gives the last seq of it."""
    last_seq = await _last_seq(svc, user_id, conversation_id)
    await svc.db.write(members.set_own, (user_id, conversation_id), min_seq=last_seq)
    return last_seq


async def pin_conversation(
    svc: ServiceContext, user_id: int, conversation_id: str, pinned: bool
) -> None:
    await _last_seq(svc, user_id, conversation_id)
    await svc.db.write(members.set_own, (user_id, conversation_id), pinned=pinned)


async def mute_conversation(
    svc: ServiceContext, user_id: int, conversation_id: str, muted: bool
) -> None:
    """Counts and messages stay as they are; a client reads it as a wish for silence."""
    await _last_seq(svc, user_id, conversation_id)
    await svc.db.write(members.set_own, (user_id, conversation_id), muted=muted)


async def _last_seq(svc: ServiceContext, user_id: int, conversation_id: str) -> int:
    """Of a conversation that the user belongs to; NOT_FOUND when nothing was ever written."""
    key = (user_id, conversation_id)
    rows, last_seqs = await svc.db.read(members.with_last_seqs, [key])
    await membership.check(svc, user_id, conversation_id, rows.get(key))
    # A member of a group of whom the conversation has not been told yet has nothing in it.
    is_new = key not in rows and isinstance(membership.parse(conversation_id), int)
    if is_new or conversation_id not in last_seqs:
        raise not_found("conversation")
    return last_seqs[conversation_id]
