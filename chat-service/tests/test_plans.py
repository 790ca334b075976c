"""How databases go about queries that must not cost more, the more others have."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

import chat_service
from chat_service.model import conversations as conversations_model
from chat_service.model import (
    files,
    members,
    mentions,
    messages,
    overview,
    retention,
    search,
    windows,
)
from chat_service.model.members import Cursors, new_row
from chat_service.model.messages import Range
from chat_service.model.tables import (
    GROUP,
    NORMAL,
    conversation_members,
    conversations,
    deleted_messages,
    file_avatars,
    file_uses,
)
from chat_service.model.tables import mentions as mentions_table
from chat_service.model.tables import messages as messages_table
from im_common.sql.db import Database
from im_common.testing.plans import PRIMARY, Work, filled_fixtures, plan, plans, rows_read

MIGRATIONS = Path(chat_service.__file__).parent / "migrations"
READER, OTHER = 1001, 1002
CONVERSATIONS = [f"g:{number}" for number in range(40)]
SEQS = range(1, 51)


def _fill(connection: Connection) -> None:
    """Forty groups of fifty members, each with fifty messages that mention all of them, one by one, and
    that another has deleted."""
    for conversation_id in CONVERSATIONS:
        _fill_one(connection, conversation_id)


def _fill_one(connection: Connection, conversation_id: str) -> None:
    conversation = {
        "conversation_id": conversation_id,
        "type": GROUP,
        "last_seq": SEQS[-1],
        "last_message_id": "m",
        "last_message_at": 1,
    }
    connection.execute(insert(conversations), [conversation])
    rows = [new_row((READER + number, conversation_id), Cursors(0, 0)) for number in range(50)]
    connection.execute(insert(conversation_members), rows)
    sent = [
        {
            "conversation_id": conversation_id,
            "seq": seq,
            "message_id": f"{conversation_id}-{seq}",
            "sender_id": OTHER,
            "client_msg_id": f"{conversation_id}-{seq}",
            "content_type": "text",
            "content": "hello",
            "status": NORMAL,
            "created_at": 1,
        }
        for seq in SEQS
    ]
    connection.execute(insert(messages_table), sent)
    deleted = [{"conversation_id": conversation_id, "seq": seq, "user_id": OTHER} for seq in SEQS]
    connection.execute(insert(deleted_messages), deleted)
    named = [
        {"conversation_id": conversation_id, "seq": seq, "user_id": READER + number}
        for seq in SEQS
        for number in range(50)
    ]
    connection.execute(insert(mentions_table), named)
    for number in range(20):
        _fill_file(connection, conversation_id, number)


def _fill_file(connection: Connection, conversation_id: str, number: int) -> None:
    """A file that two messages name: one of this conversation, one of the first."""
    file_id = f"{conversation_id}-{number}"
    files.create(connection, file_id, owner_id=OTHER, now=number)
    files.finish(connection, file_id, files.Kind(1, "text/plain", 0, 0, 0))
    keys = {(conversation_id, 10 + number), (CONVERSATIONS[0], 10 + number)}
    uses = [{"file_id": file_id, "conversation_id": on, "seq": seq} for on, seq in keys]
    connection.execute(insert(file_uses), uses)
    # A picture, too: of another file, for those that are looked for here are seen in messages.
    picture = {"file_id": f"picture of {file_id}", "holder": file_id, "since": 1}
    connection.execute(insert(file_avatars), [picture])


filled_conf, filled = filled_fixtures(MIGRATIONS, _fill)


async def test_the_way_of_an_ack_is_by_the_primary_key_alone(filled: Database) -> None:
    keys = [(READER + number, c) for number in range(25) for c in CONVERSATIONS]
    for query in (members.positions, members.rows):
        found = await plan(filled, partial(query, keys=keys))
        assert (found.scans, found.of(conversation_members).key) == ([], PRIMARY)
        read = await rows_read(filled, partial(query, keys=keys))
        assert read in (None, len(keys))
    assert len(await filled.read(members.positions, keys)) == len(keys)


PLACE = ("g:7", 50)
ONE_MESSAGE: dict[str, Work] = {
    "taken back": partial(messages.empty, places=[PLACE]),
    "deleted": lambda connection: messages.hide(connection, READER, *PLACE),
    "its sender": partial(messages.senders, places=[PLACE]),
    "shown": partial(messages.at_places, reader=READER, places=[PLACE]),
    "found": partial(messages.newest_of, reader=READER, places=[("g:7", 49)]),
    "where it is": partial(messages.facts, message_ids=["g:7-50"]),
    "its conversation": partial(conversations_model.last_seqs, conversation_ids=["g:7"]),
}


@pytest.mark.parametrize("what", ONE_MESSAGE)
async def test_one_message_costs_one_message_however_many_there_are(
    filled: Database, what: str
) -> None:
    for found in await plans(filled, ONE_MESSAGE[what]):
        assert (found.scans, found.is_sorted) == ([], False)
    read = await rows_read(filled, ONE_MESSAGE[what])
    assert read is None or read <= 6


SEVERAL = [(conversation_id, seq) for conversation_id in CONVERSATIONS[:20] for seq in (10, 11)]
SEVERAL_MESSAGES: dict[str, Work] = {
    "taken back": partial(messages.empty, places=SEVERAL),
    "their senders": partial(messages.senders, places=SEVERAL),
    "shown": partial(messages.at_places, reader=READER, places=SEVERAL),
    "of ranges": partial(
        messages.in_ranges, reader=READER, ranges=[Range(c, 9, 11) for c in CONVERSATIONS[:20]]
    ),
    "who wrote them": partial(
        messages.writers, ranges=[Range(c, 9, 11) for c in CONVERSATIONS[:20]]
    ),
    "of an age": partial(retention.ages, conversation_id="g:7", above=9, limit=40),
    "changes among them": partial(windows.changes, conversation_id="g:7", after=9, last=49),
    "too old": partial(retention.expire, conversation_id="g:7", above=0, upto=1, now=1),
}


@pytest.mark.parametrize("what", SEVERAL_MESSAGES)
async def test_several_messages_cost_as_many(filled: Database, what: str) -> None:
    for found in await plans(filled, SEVERAL_MESSAGES[what]):
        assert found.scans == []
    read = await rows_read(filled, SEVERAL_MESSAGES[what])
    assert read is None or read <= 4 * len(SEVERAL)


async def test_what_others_have_deleted_costs_nothing(filled: Database) -> None:
    def page(connection: Connection) -> Any:
        bounds = {"above": 0, "below": None, "limit": 20, "newest": True}
        return messages.page(connection, "g:7", reader=READER, **bounds)

    def found(connection: Connection) -> Any:
        stretch = search.Stretch("g:7", "g:7")
        return search.find(connection, READER, stretch, ["hello"], before_id="", limit=20)

    for query in (page, found):
        found = await plan(filled, query)
        assert (found.scans, found.of(deleted_messages).key) == ([], PRIMARY)
        assert found.of(deleted_messages).rows in (None, 1)


async def test_a_search_sorts_keys_and_reads_what_was_said_by_them(filled: Database) -> None:
    def found(connection: Connection) -> Any:
        stretch = search.Stretch("g:1", "g:7")
        return search.find(connection, READER, stretch, ["hello"], before_id="", limit=20)

    searched = await plan(filled, found)
    # Where it looks, and the rows of the page.
    by = [step.key for step in searched.steps if step.table == messages_table.name]
    assert (searched.scans, by) == ([], [PRIMARY, PRIMARY])


async def test_a_page_of_readers_looks_at_so_many_members(filled: Database) -> None:
    def page(connection: Connection) -> Any:
        return members.readers(connection, "g:7", 50, after=READER + 5, limit=20, most=10)

    for found in await plans(filled, page):
        # An index of SQLite does not go on with the rest of the primary key.
        assert (found.scans, found.is_sorted) == ([], filled.is_sqlite)
        assert found.of(conversation_members).key == "ix_conversation_members_conversation"
    assert await filled.read(page) == ([], READER + 15)
    # For where it ends, and then each of them.
    read = await rows_read(filled, page)
    assert read is None or read <= 2 * 10 + 5


async def test_unread_messages_are_counted_by_what_the_reader_has_deleted(filled: Database) -> None:
    def counted(connection: Connection) -> Any:
        return overview.of_user(connection, READER)

    found = await plan(filled, counted)
    by = {step.key for step in found.steps if step.table in ("own_deleted", "recalled")}
    # SQLite goes by the conversation, and reads what anybody has deleted of what is unread.
    assert by == {PRIMARY if filled.is_sqlite else "ix_deleted_messages_user"}
    # Of each conversation the member's row, its own and what was looked for.
    read = await rows_read(filled, counted)
    assert read is None or read <= 12 * len(CONVERSATIONS)


async def test_mentions_are_found_by_user_within_what_is_unread(filled: Database) -> None:
    ranges = [Range(conversation_id, 45, 50) for conversation_id in CONVERSATIONS]
    oldest = partial(mentions.oldest, user_id=READER, ranges=ranges)
    found = await plan(filled, oldest)
    assert (found.scans, found.of(mentions_table).key) == ([], "ix_mentions_user")
    assert {s.key for s in found.steps if s.table != "mentions"} == {PRIMARY}
    # Five of each group, where all of a group would be, and whether each is gone.
    read = await rows_read(filled, oldest)
    assert read is None or read <= 5 * 6 * len(CONVERSATIONS)
    assert await filled.read(oldest) == dict.fromkeys(CONVERSATIONS, 46)


async def test_whether_a_file_is_seen_costs_what_the_messages_that_name_it_are(
    filled: Database,
) -> None:
    wishes = [(READER, f"{on}-{number}") for on in CONVERSATIONS[:5] for number in range(4)]
    visible = partial(files.visible, wishes=wishes)
    for found in await plans(filled, visible):
        assert found.scans == []
    read = await rows_read(filled, visible)
    assert read is None or read <= 12 * len(wishes)
    assert await filled.read(visible) == set(wishes)


async def test_unused_files_are_found_by_their_time(filled: Database) -> None:
    def due(connection: Connection) -> Any:
        return files.take_unused(connection, now=files.UNUSED_MS + 1, limit=10)

    for found in await plans(filled, due):
        assert found.scans == []
