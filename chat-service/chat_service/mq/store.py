"""Gives messages their places and stores them, all of a batch in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from chat_service.model import content, files, ledger, members, mentions
from chat_service.model.members import Cursors, MemberKey, new_row
from chat_service.model.messages import Place
from chat_service.model.tables import GROUP, NORMAL, SINGLE
from chat_service.mq import rosters
from im_common.domain.in_flight import RetryKey
from im_common.errors import AppError, Code
from im_common.runtime.chunks import chunks
from im_common.sql.db import Database

if TYPE_CHECKING:
    from chat_service.mq.message import MessageEntry

# Members whose rows one query reads.
_CHUNK = 1000


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
        places, roster_seqs = await db.write(_write, list(fresh.values()))
        # Set only now that the commit has been confirmed.
        for item, place in zip(fresh.values(), places, strict=True):
            item.put_at(place)
        _note_rosters(fresh.values(), roster_seqs)
    for item in repeated:
        first = fresh[item.key].place
        if first is not None:
            _settle_duplicate(item, first)


def _settle_duplicate(item: MessageEntry, place: Place) -> None:
    if place.conversation_id == item.conversation_id:
        item.put_at(place)
    else:
        item.error = AppError(
            Code.ALREADY_EXISTS,
            "client_msg_id was used for a message of another conversation",
            field="client_msg_id",
        )


def _note_rosters(items: Iterable[MessageEntry], roster_seqs: Mapping[str, int]) -> None:
    """Which change of members counts for each; ``roster_seqs`` are those after the batch."""
    known: dict[str, int] = {}
    for item in items:
        if not item.is_group:
            continue
        key, seq = item.conversation_id, item.seq
        if item.changes_members:
            known[key] = seq
        if (last := roster_seqs[key]) <= seq:
            item.roster_seq = last
        else:
            # Of what is before the batch's first change, that of the batch before counts.
            item.roster_seq = known.get(key)


def _write(
    connection: Connection, items: Sequence[MessageEntry]
) -> tuple[list[Place], dict[str, int]]:
    """The places, and the roster_seq of each conversation."""
    by_conversation: dict[str, list[MessageEntry]] = defaultdict(list)
    for item in items:
        by_conversation[item.conversation_id].append(item)
    news = [_news(key, by_conversation[key]) for key in sorted(by_conversation)]
    seqs = ledger.reserve(connection, news)
    next_seqs = {
        key: seqs[key].last_seq - len(of_one) + 1 for key, of_one in by_conversation.items()
    }
    firsts = [of_one[0] for key, of_one in by_conversation.items() if next_seqs[key] == 1]
    places = [_take_place(item, next_seqs) for item in items]
    rows = [_message_row(item, place) for item, place in zip(items, places, strict=True)]
    ledger.insert_messages(connection, rows)
    mentions.add(connection, _mention_rows(items, places))
    files.add_uses(connection, _use_rows(items, places))
    _make_members(connection, items, _member_rows(items, places, firsts))
    _move_members(connection, items, places)
    return places, {key: seqs[key].roster_seq for key in by_conversation}


def _mention_rows(
    items: Sequence[MessageEntry], places: Sequence[Place]
) -> Iterator[tuple[str, int, int]]:
    for item, place in zip(items, places, strict=True):
        for user_id in mentions.mentioned(item.content, by=item.author_id):
            yield place.conversation_id, place.seq, user_id


def _use_rows(
    items: Sequence[MessageEntry], places: Sequence[Place]
) -> Iterator[tuple[str, str, int]]:
    for item, place in zip(items, places, strict=True):
        for file_id in item.file_ids:
            yield file_id, place.conversation_id, place.seq


def _member_rows(
    items: Sequence[MessageEntry], places: Sequence[Place], firsts: Sequence[MessageEntry]
) -> dict[MemberKey, dict[str, Any]]:
    """Rows as they are made where there are none; where there are, only the cursors move."""
    rows: dict[MemberKey, dict[str, Any]] = {}
    hidden: dict[MemberKey, int] = {}
    # A conversation's first message makes its members, but for those who are told of later.
    coming = {user_id for item in items if item.moves for user_id in item.moves.joined_user_ids}
    for item in firsts:
        conversation_id = item.conversation_id
        for user_id in item.group_members if item.is_group else item.members[:1]:
            if not item.is_group or user_id not in coming:
                key = user_id, conversation_id
                rows[key] = new_row(key, Cursors(0, 0))
                hidden[key] = 0
    for item, place in zip(items, places, strict=True):
        change = item.moves
        if change is not None:
            # Their coming and what follows it is theirs to see, whatever they write after it.
            before = rosters.before(change, place.seq)
            for user_id in change.joined_user_ids:
                hidden.setdefault((user_id, place.conversation_id), before)
        if change is None or item.author_id not in change.left_user_ids:
            key, seq = (item.author_id, place.conversation_id), place.seq
            row = rows.get(key)
            if row is None:
                # Who writes to a group before it is told that they came sees nothing older.
                min_seq = hidden.setdefault(key, seq - 1 if item.is_group else 0)
                row = rows[key] = new_row(key, Cursors(0, 0), min_seq=min_seq)
            # Sending reads the conversation up to the message sent.
            row["read_seq"] = row["delivered_seq"] = seq
    return rows


def _make_members(
    connection: Connection, items: Sequence[MessageEntry], rows: Mapping[MemberKey, dict[str, Any]]
) -> None:
    """Who had left and writes is back, though their coming has no place yet; of who made a change
    nobody asks whether they are a member."""
    of_groups = [item for item in items if item.is_group]
    back = {(item.author_id, item.conversation_id) for item in of_groups if _is_back(item)}
    apart = {(item.author_id, item.conversation_id) for item in of_groups} - back
    if apart:
        members.make(connection, {key: row for key, row in rows.items() if key in apart})
        rows = {key: row for key, row in rows.items() if key not in apart}
    members.make_writers(connection, rows)


def _is_back(item: MessageEntry) -> bool:
    """Whether its author is a member of its group, whatever the conversation knows of it."""
    return item.is_group and item.moves is None and item.author_id in item.group_members


def _move_members(
    connection: Connection, items: Sequence[MessageEntry], places: Sequence[Place]
) -> None:
    """In the transaction of the messages: nobody sees one of them as a member that they are no more."""
    keys = {(user_id, item.conversation_id) for item in items for user_id in item.moved_user_ids}
    if not keys:
        return
    rows: rosters.Rows = {}
    for some in chunks(sorted(keys), _CHUNK):
        rows |= members.rows(connection, some)
    for item, place in zip(items, places, strict=True):
        if item.moves is not None:
            rosters.take(rows, item.moves, place.conversation_id, place.seq)
        elif _is_back(item):
            rosters.take_back(rows, (item.author_id, place.conversation_id), place.seq)
    if rows:
        members.put(connection, [rows[key] for key in sorted(rows)])


def _take_place(item: MessageEntry, next_seqs: dict[str, int]) -> Place:
    seq = next_seqs[item.conversation_id]
    next_seqs[item.conversation_id] = seq + 1
    return Place(item.message_id, item.conversation_id, seq, item.timestamp)


def _news(conversation_id: str, items: Sequence[MessageEntry]) -> ledger.News:
    newest = items[-1]
    return ledger.News(
        conversation_id,
        GROUP if newest.is_group else SINGLE,
        newest.group_id,
        _last_change(items),
        len(items),
        newest.message_id,
        newest.timestamp,
    )


def _last_change(items: Sequence[MessageEntry]) -> int:
    """Which of a conversation's new messages is the last that changes its members; 0 for none."""
    if not items[-1].is_group:
        return 0
    return max((n for n, item in enumerate(items, 1) if item.changes_members), default=0)


def _message_row(item: MessageEntry, place: Place) -> ledger.Row:
    return (
        place.conversation_id,
        place.seq,
        place.message_id,
        item.author_id,
        *content.to_row(item.content),
        NORMAL,
        place.timestamp,
    )
