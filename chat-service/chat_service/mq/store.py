"""Gives messages their places and stores them, all of a batch in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from chat_service.model import content, ledger, members
from chat_service.model.members import Cursors, MemberKey
from chat_service.model.messages import Place
from chat_service.model.tables import GROUP, NORMAL, SINGLE
from im_common.domain.in_flight import RetryKey
from im_common.errors import AppError, Code
from im_common.sql.db import Database

if TYPE_CHECKING:
    from chat_service.mq.message import MessageEntry


async def find_places(db: Database, items: Sequence[MessageEntry]) -> None:
    """Gives the items that are stored already their first place: a retry is safe."""
    if not items:
        return
    places = await db.read(ledger.find_places, {item.key for item in items})
    for item in items:
        place = places.get(item.key)
        if place is not None:
            _settle_duplicate(item, place)


async def store(db: Database, items: Sequence[MessageEntry]) -> None:
    """Stores the items that have neither a place nor an error, and sets their places.

    An exception means that nothing is known: the transaction may have been committed or not. The
    next try finds out by ``find_places``.
    """
    fresh: dict[RetryKey, MessageEntry] = {}
    repeated: list[MessageEntry] = []
    for item in items:
        if item.place is None and item.error is None:
            if item.key in fresh:
                repeated.append(item)
            else:
                fresh[item.key] = item
    if fresh:
        places = await db.write(_write, list(fresh.values()))
        # Set only now that the commit has been confirmed.
        for item, place in zip(fresh.values(), places, strict=True):
            item.place = place
    for item in repeated:
        first = fresh[item.key].place
        if first is not None:
            _settle_duplicate(item, first)


def _settle_duplicate(item: MessageEntry, place: Place) -> None:
    if place.conversation_id == item.message.conversation_id:
        item.place = place
    else:
        item.error = AppError(
            Code.ALREADY_EXISTS,
            "client_msg_id was used for a message of another conversation",
            field="client_msg_id",
        )


def _write(connection: Connection, items: Sequence[MessageEntry]) -> list[Place]:
    by_conversation: dict[str, list[MessageEntry]] = defaultdict(list)
    for item in items:
        by_conversation[item.message.conversation_id].append(item)
    rows = [_conversation_row(by_conversation[key]) for key in sorted(by_conversation)]
    last_seqs = ledger.reserve(connection, rows)
    next_seqs = {key: last_seqs[key] - len(of_one) + 1 for key, of_one in by_conversation.items()}
    firsts = [of_one[0] for key, of_one in by_conversation.items() if next_seqs[key] == 1]
    places = [_take_place(item, next_seqs) for item in items]
    ledger.insert_messages(
        connection, [_message_row(item, place) for item, place in zip(items, places, strict=True)]
    )
    members.advance(connection, _moves(items, places, firsts))
    return places


def _moves(
    items: Sequence[MessageEntry], places: Sequence[Place], firsts: Sequence[MessageEntry]
) -> dict[MemberKey, Cursors]:
    # A conversation's first message makes its members; sending reads up to the message sent.
    cursors: dict[MemberKey, Cursors] = {}
    for item in firsts:
        conversation_id = item.message.conversation_id
        for user_id in item.group_members if item.is_group else (item.message.to_user_id,):
            cursors[user_id, conversation_id] = Cursors(0, 0)
    for item, place in zip(items, places, strict=True):
        cursors[item.message.sender_id, place.conversation_id] = Cursors(place.seq, place.seq)
    return cursors


def _take_place(item: MessageEntry, next_seqs: dict[str, int]) -> Place:
    message = item.message
    seq = next_seqs[message.conversation_id]
    next_seqs[message.conversation_id] = seq + 1
    return Place(message.message_id, message.conversation_id, seq, message.timestamp)


def _conversation_row(items: Sequence[MessageEntry]) -> dict[str, Any]:
    newest = items[-1].message
    return {
        "conversation_id": newest.conversation_id,
        "type": GROUP if items[-1].is_group else SINGLE,
        "group_id": newest.group_id if items[-1].is_group else None,
        "last_seq": len(items),
        "last_message_id": newest.message_id,
        "last_message_at": newest.timestamp,
    }


def _message_row(item: MessageEntry, place: Place) -> dict[str, Any]:
    message = item.message
    return {
        "conversation_id": place.conversation_id,
        "seq": place.seq,
        "message_id": message.message_id,
        "sender_id": message.sender_id,
        **content.to_row(message.content),
        "status": NORMAL,
        "created_at": message.timestamp,
    }
