"""Messages of many conversations, put right into the database of chat-service by its own statements: as
its consumer would have stored them, a hundred times as fast."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter as clock
from typing import NamedTuple

from sqlalchemy import Connection, text

from chat_service.model import content, ledger, members
from chat_service.model.members import Cursors
from chat_service.model.tables import NORMAL, SINGLE, metadata
from im_bench.pair import content_of
from im_bench.report import Failed
from im_common.domain.content import Given
from im_common.domain.ids import new_message_id, now_ms, single_conversation
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_local.infra_file import Infra
from im_local.paths import DataDir
from im_local.system import System

# Of a transaction: so many messages in each conversation of ours, and in each of as many others.
OURS, OTHERS = 4, 16
# The others are new ones after so many transactions.
LIFE = 10
# Nobody has these ids.
_FIRST_STRANGER = 10**12
_WRITERS = 2
_DB = "IM_DB__"

Users = tuple[int, int]


class Filled(NamedTuple):
    rows: int
    seconds: float
    # In each conversation of ours.
    in_each: int
    # Of all conversations.
    conversations: int


@dataclass
class _Talk:
    users: Users
    seq: int = 0

    def __post_init__(self) -> None:
        self.conversation_id = single_conversation(*self.users)


def database_of(data: Path, infra: Infra | None) -> DbConf:
    """That of chat-service, of a system with this data folder."""
    system = System(DataDir.at(data), infra=infra)
    (chat,) = (process for process in system.services() if process.name == "chat")
    told = {n.removeprefix(_DB).lower(): v for n, v in chat.offers.items() if n.startswith(_DB)}
    return DbConf.model_validate(told)


async def fill(
    database: Database,
    ours: Sequence[Users],
    rows: int,
    note: Callable[[int, int], object] = lambda _done, _of: None,
) -> Filled:
    """At least so many messages: a fifth of them in the conversations of ``ours``, of which the first
    user is the sender, the rest in many that nobody has any more. All are of people who speak at the
    same time: the transactions have each some of each. ``note`` hears how many there are of how many.

    Raises Failed when the database numbers them otherwise.
    """
    rounds = -(-rows // (len(ours) * (OURS + OTHERS)))
    talks = [_Talk(users) for users in ours]
    strangers = iter(range(_FIRST_STRANGER, 2 * _FIRST_STRANGER, 2))
    begin, done, conversations = clock(), 0, len(talks)

    async def work(own: Sequence[_Talk]) -> None:
        nonlocal done, conversations
        others: list[_Talk] = []
        for number in range(rounds):
            if number % LIFE == 0:
                others = [_Talk((one, one + 1)) for _ in own for one in (next(strangers),)]
                conversations += len(others)
            await database.write(_put, *_block(own, others))
            done += len(own) * (OURS + OTHERS)
            note(done, rounds * len(ours) * (OURS + OTHERS))

    shares = [talks[first::_WRITERS] for first in range(_WRITERS)]
    await asyncio.gather(*(work(share) for share in shares if share))
    return Filled(done, clock() - begin, rounds * OURS, conversations)


async def size(database: Database) -> int:
    """Bytes of all tables and indexes."""
    return await database.read(_size, is_sqlite=database.is_sqlite)


def _block(own: Sequence[_Talk], others: Sequence[_Talk]) -> tuple[list[ledger.Row], list[_Talk]]:
    """The messages in the order in which they came, and the conversations."""
    return [_message(talk) for talk in _speakers(own, others)], [*own, *others]


def _speakers(own: Sequence[_Talk], others: Sequence[_Talk]) -> Iterator[_Talk]:
    for turn in range(OTHERS):
        if turn < OURS:
            yield from own
        yield from others


def _message(talk: _Talk) -> ledger.Row:
    talk.seq += 1
    # As applications make them: in no order.
    given = Given(secrets.token_hex(16), "text", content_of(talk.seq - 1))
    to_whom = talk.conversation_id, talk.seq, new_message_id(), talk.users[0]
    return *to_whom, *content.to_row(given), NORMAL, now_ms()


def _put(connection: Connection, rows: Sequence[ledger.Row], talks: Sequence[_Talk]) -> None:
    """As one batch of the consumer; all have read all."""
    counts = Counter(row[0] for row in rows)
    newest = {row[0]: row for row in rows}
    seqs = ledger.reserve(connection, [_news(newest[key], counts[key]) for key in sorted(newest)])
    for talk in talks:
        if (found := seqs[talk.conversation_id].last_seq) != talk.seq:
            raise Failed(f"{talk.conversation_id} ends with {found}, not {talk.seq}")
    ledger.insert_messages(connection, rows)
    moves = {
        (user, talk.conversation_id): Cursors(talk.seq, talk.seq)
        for talk in talks
        for user in talk.users
    }
    members.advance(connection, moves)


def _news(newest: ledger.Row, count: int) -> ledger.News:
    conversation_id, _, message_id, *_, created_at = newest
    return ledger.News(conversation_id, SINGLE, None, 0, count, message_id, created_at)


def _size(connection: Connection, *, is_sqlite: bool) -> int:
    if is_sqlite:
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        # What was known of the tables may be of before the fill.
        tables = ", ".join(metadata.tables)
        connection.execute(text(f"ANALYZE TABLE {tables}")).all()
        query = (
            "SELECT SUM(data_length + index_length) FROM information_schema.tables "
            "WHERE table_schema = DATABASE()"
        )
    return int(connection.execute(text(query)).scalar_one())
