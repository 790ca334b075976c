"""What is put into the database for a benchmark is what the consumer would have stored."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, select

import chat_service
from chat_service.model.tables import conversation_members, conversations, messages
from im_bench import fill
from im_bench.pair import number_in
from im_common.domain.ids import may_be_message_id
from im_common.sql.db import Database
from im_common.sql.migrate import upgrade

OURS = [(1003, 1001), (1005, 1007), (1009, 1011)]
ROWS = 2_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    conf = fill.database_of(tmp_path, None)
    await asyncio.to_thread(upgrade, conf, Path(chat_service.__file__).parent / "migrations")
    database = Database(conf)
    yield database
    await database.close()


async def rows(database: Database, table: Table) -> list[dict[str, Any]]:
    def find(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(select(table)).mappings()]

    return await database.read(find)


async def test_each_conversation_has_its_messages_from_the_first_on_and_names_the_last(
    database: Database,
) -> None:
    filled = await fill.fill(database, OURS, ROWS)
    by_conversation: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in await rows(database, messages):
        by_conversation[row["conversation_id"]].append(row)
    known = {row["conversation_id"]: row for row in await rows(database, conversations)}
    assert known.keys() == by_conversation.keys()
    assert len(known) == filled.conversations
    assert sum(map(len, by_conversation.values())) == filled.rows >= ROWS
    for name, of_one in by_conversation.items():
        of_one.sort(key=lambda row: int(row["seq"]))
        assert [row["seq"] for row in of_one] == list(range(1, len(of_one) + 1))
        assert [number_in(row["content"]) for row in of_one] == list(range(len(of_one)))
        ids = [row["message_id"] for row in of_one]
        assert ids == sorted(ids)
        assert all(map(may_be_message_id, ids))
        last = known[name]
        assert (last["last_seq"], last["last_message_id"]) == (len(of_one), ids[-1])


async def test_ours_have_a_fifth_of_all_which_their_first_one_sent_and_both_have_read(
    database: Database,
) -> None:
    filled = await fill.fill(database, OURS, ROWS)
    assert filled.in_each * len(OURS) * 5 == filled.rows
    sent = await rows(database, messages)
    read = {
        (row["conversation_id"], row["user_id"]): row["read_seq"]
        for row in await rows(database, conversation_members)
    }
    assert len(read) == 2 * filled.conversations
    for sender, receiver in OURS:
        name = f"s:{min(sender, receiver)}:{max(sender, receiver)}"
        senders = [row["sender_id"] for row in sent if row["conversation_id"] == name]
        assert senders == [sender] * filled.in_each
        assert read[name, sender] == read[name, receiver] == filled.in_each


async def test_it_says_how_far_it_is_and_how_much_there_is(database: Database) -> None:
    told: list[tuple[int, int]] = []
    filled = await fill.fill(database, OURS, ROWS, lambda *progress: told.append(progress))
    assert told[-1] == (filled.rows, filled.rows)
    assert told == sorted(told)
    assert await fill.size(database) > filled.rows * 100
