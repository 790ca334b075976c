"""The store step by itself, for services of ours that bring messages along."""

from __future__ import annotations

from collections.abc import Sequence

from chat_service.model.messages import Place
from chat_service.mq import store
from chat_service.mq.entry import NOBODY, Poison
from chat_service.mq.message import MessageEntry, drop_strangers
from chat_service.svc import ServiceContext
from im.chat.v1.record_pb2 import NewMessage
from im.group.v1.group_pb2 import BatchGetSendInfoRequest, GroupSenders
from im_common.bus import Record
from im_common.domain.ids import (
    check_id,
    group_conversation,
    new_message_id,
    now_ms,
    single_conversation,
)
from im_common.errors import AppError, Code, invalid, not_found
from im_common.sql.db import is_duplicate_key

_NO_RECORD = Record("", 0, "", b"", b"", {})


async def save_message(svc: ServiceContext, message: NewMessage) -> Place:
    """Gives a message its place without delivering it; devices find it by ``sync``. Who may speak to
    whom is not asked. message_id, client_msg_id and timestamp are made when missing.

    Raises:
        AppError: INVALID_ARGUMENT, NOT_FOUND (no such group), ALREADY_EXISTS (the client_msg_id was
            used in another conversation, or the message_id for another message).
    """
    _complete(message)
    try:
        item = MessageEntry(_NO_RECORD, NOBODY, message)
    except Poison as problem:
        raise invalid("message", str(problem)) from None
    if item.group_id is not None:
        item.group_members = await _among_members(svc, item.group_id, item.asked_user_ids)
    drop_strangers(item)
    await store.find_places(svc.db, [item])
    try:
        await store.store(svc.db, [item])
    except Exception as error:
        if not is_duplicate_key(error):
            raise
        # Somebody else stored it in this moment.
        await store.find_places(svc.db, [item])
    if item.error is not None:
        raise item.error
    if item.place is None:
        raise AppError(Code.ALREADY_EXISTS, "message_id was used for another message")
    return item.place


def _complete(message: NewMessage) -> None:
    message.message_id = message.message_id or new_message_id()
    given = message.content
    given.client_msg_id = given.client_msg_id or message.message_id
    message.timestamp = message.timestamp or now_ms()
    given.content_type = given.content_type or "text"
    check_id("sender_id", message.sender_id)
    if message.WhichOneof("target") == "group_id":
        conversation_id = group_conversation(check_id("group_id", message.group_id))
    else:
        receiver = check_id("to_user_id", message.to_user_id)
        conversation_id = single_conversation(message.sender_id, receiver)
    if message.conversation_id not in ("", conversation_id):
        raise invalid("conversation_id", "is not that of sender and receiver")
    message.conversation_id = conversation_id


async def _among_members(
    svc: ServiceContext, group_id: int, user_ids: Sequence[int]
) -> Sequence[int]:
    asked = GroupSenders(group_id=group_id, user_ids=user_ids)
    answer = await svc.groups.BatchGetSendInfo(BatchGetSendInfoRequest(groups=[asked]))
    if not answer.groups:
        raise not_found(f"group {group_id}")
    return answer.groups[0].member_ids
