"""How MariaDB or MySQL goes about queries that must not cost more, the more others have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, text
from sqlalchemy.engine import Engine

from chat_service.model import members, mentions, messages, overview, search
from chat_service.model.members import Cursors, new_row
from chat_service.model.messages import Range
from chat_service.model.tables import (
    GROUP,
    NORMAL,
    conversation_members,
    conversations,
    deleted_messages,
)
from chat_service.model.tables import mentions as mentions_table
from chat_service.model.tables import messages as messages_table
from im_common.sql.db import Database

READER, OTHER = 1001, 1002
CONVERSATIONS = [f"g:{number}" for number in range(40)]
SEQS = range(1, 51)


@pytest.fixture
async def filled(db: Database) -> Database:
    """Forty groups of fifty members, each with fifty messages that mention all of them, one by one, and
    that another has deleted."""
    if db.is_sqlite:
        pytest.skip("SQLite keeps no statistics of its own accord")

    def fill(connection: Connection) -> None:
        for conversation_id in CONVERSATIONS:
            _fill(connection, conversation_id)
        connection.commit()
        for table in (conversation_members, messages_table, deleted_messages, mentions_table):
            connection.execute(text(f"ANALYZE TABLE {table.name}")).close()

    await db.write(fill)
    return db


def _fill(connection: Connection, conversation_id: str) -> None:
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


async def plan(db: Database, work: Callable[[Connection], Any]) -> dict[str, dict[str, Any]]:
    """Table -> its line of EXPLAIN, for the one query of ``work``."""
    queries: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        queries.append((statement, parameters))

    def explain(connection: Connection) -> dict[str, dict[str, Any]]:
        event.listen(Engine, "before_cursor_execute", note)
        try:
            work(connection)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        ((statement, parameters),) = queries
        lines = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
        return {line["table"]: dict(line) for line in lines.mappings()}

    return await db.read(explain)


async def test_the_way_of_an_ack_is_by_the_primary_key_alone(filled: Database) -> None:
    keys = [(READER + number, c) for number in range(25) for c in CONVERSATIONS]
    for query in (members.positions, members.rows):
        lines = await plan(filled, partial(query, keys=keys))
        assert lines["conversation_members"]["possible_keys"] == "PRIMARY"
    assert len(await filled.read(members.positions, keys)) == len(keys)


async def test_what_others_have_deleted_costs_nothing(filled: Database) -> None:
    def page(connection: Connection) -> Any:
        bounds = {"above": 0, "below": None, "limit": 20, "newest": True}
        return messages.page(connection, "g:7", reader=READER, **bounds)

    def found(connection: Connection) -> Any:
        stretch = search.Stretch("g:7", "g:7")
        return search.find(connection, READER, stretch, ["hello"], before_id="", limit=20)

    for query in (page, found):
        line = (await plan(filled, query))["deleted_messages"]
        assert (line["type"], line["key"], int(line["rows"])) == ("eq_ref", "PRIMARY", 1)


async def test_unread_messages_are_counted_by_what_the_reader_has_deleted(filled: Database) -> None:
    def counted(connection: Connection) -> Any:
        return overview.of_user(connection, READER)

    line = (await plan(filled, counted))["deleted_messages"]
    assert line["key"] == "ix_deleted_messages_user"
    assert int(line["rows"]) <= 2


async def test_mentions_are_found_by_user_within_what_is_unread(filled: Database) -> None:
    ranges = [Range(conversation_id, 45, 50) for conversation_id in CONVERSATIONS]
    lines = await plan(filled, partial(mentions.oldest, user_id=READER, ranges=ranges))
    line = lines["mentions"]
    assert (line["type"], line["key"]) == ("range", "ix_mentions_user")
    # Five of each group, and where all of a group would be.
    assert int(line["rows"]) <= 6 * len(CONVERSATIONS)
    gone = [line for table, line in lines.items() if table != "mentions"]
    assert [(one["type"], one["key"]) for one in gone] == [("eq_ref", "PRIMARY")] * 2
    found = await filled.read(mentions.oldest, READER, ranges)
    assert found == dict.fromkeys(CONVERSATIONS, 46)
