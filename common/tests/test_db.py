"""SQL on both sides of the swap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

import im_common.sql.db
from im_common.runtime.config import DbConf
from im_common.runtime.faults import is_outage
from im_common.sql import direct
from im_common.sql.contention import transact
from im_common.sql.db import MYSQL_TABLE, AutoId, Database, ascii_key, is_duplicate_key
from im_common.sql.direct import Script, Statement
from im_common.testing.databases import KINDS, migrated_database, missing
from im_common.testing.waiting import eventually

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", AutoId, primary_key=True),
    Column("name", ascii_key(20), nullable=False, unique=True),
    Column("word", String(20), nullable=False, unique=True),
    Column("seq", BigInteger, nullable=False),
    **MYSQL_TABLE,
)
MIGRATIONS = Path(__file__).parents[2] / "friend-service/friend_service/migrations"


@pytest.fixture(params=KINDS)
def conf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DbConf]:
    reason = missing(request.param)
    if reason:
        pytest.skip(reason)
    with migrated_database(request.param, tmp_path, MIGRATIONS) as conf:
        yield conf


@pytest.fixture
async def db(conf: DbConf) -> AsyncIterator[Database]:
    database = Database(conf)
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    yield database
    await database.close()


async def _rows(db: Database) -> list[tuple[str, int]]:
    async with db.read() as connection:
        rows = await connection.execute(select(things.c.name, things.c.seq).order_by(things.c.name))
        return [(row[0], row[1]) for row in rows]


def _row(name: str, seq: int, word: str = "") -> dict[str, object]:
    return {"name": name, "word": word or name, "seq": seq}


async def test_an_upsert_adds_to_what_is_there(db: Database) -> None:
    statement = db.upsert(things, ["name"], lambda old, new: {"seq": old.c.seq + new.seq})
    for _ in range(2):
        async with db.write() as connection:
            await connection.execute(statement, [_row("a", 1), _row("b", 20)])
    assert await _rows(db) == [("a", 2), ("b", 40)]


async def test_an_upsert_may_change_nothing_or_only_upwards(db: Database) -> None:
    keep = db.upsert(things, ["name"], None)
    raise_ = db.upsert(things, ["name"], lambda old, new: {"seq": db.greatest(old.c.seq, new.seq)})
    async with db.write() as connection:
        await connection.execute(keep, [_row("a", 5)])
        await connection.execute(keep, [_row("a", 6)])
        await connection.execute(raise_, [_row("a", 4)])
        assert (await connection.execute(select(things.c.seq))).scalar() == 5
        await connection.execute(raise_, [_row("a", 9)])
    assert await _rows(db) == [("a", 9)]


async def test_an_exception_takes_the_whole_transaction_back(db: Database) -> None:
    async def insert_and_fail() -> None:
        async with db.write() as connection:
            await connection.execute(insert(things), [_row("a", 1)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await insert_and_fail()
    assert await _rows(db) == []


async def test_a_duplicate_key_is_told_from_other_faults(db: Database) -> None:
    async with db.write() as connection:
        await connection.execute(insert(things), [_row("a", 1)])
    with pytest.raises(IntegrityError) as caught:
        async with db.write() as connection:
            await connection.execute(insert(things), [_row("a", 2, "other")])
    assert is_duplicate_key(caught.value)
    assert not is_duplicate_key(ValueError("UNIQUE"))


async def test_emoji_accents_and_cases_are_not_one_another(db: Database) -> None:
    words = ["😀", "😁", "e", "é", "E", "你", "ß", "ss"]
    async with db.write() as connection:
        rows = [_row(f"n{i}", i, word) for i, word in enumerate(words)]
        await connection.execute(insert(things), rows)
    async with db.read() as connection:
        for i, word in enumerate(words):
            query = select(things.c.seq).where(things.c.word == word)
            assert (await connection.execute(query)).scalars().all() == [i]


async def test_writers_take_turns(db: Database) -> None:
    statement = db.upsert(things, ["name"], lambda old, new: {"seq": old.c.seq + new.seq})

    async def add() -> int:
        async with db.write() as connection:
            await connection.execute(statement, [_row("a", 1)])
            seq: int = (
                await connection.execute(select(things.c.seq).where(things.c.name == "a"))
            ).scalar_one()
            return seq

    seqs = await asyncio.gather(*(add() for _ in range(20)))
    assert sorted(seqs) == list(range(1, 21))


# --- transactions on the driver itself -----------------------------------------------------------


@pytest.fixture(params=[1024 * 1024, 0], ids=["together", "one by one"])
def most_together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements go to MySQL in one packet, or are too long for that."""
    monkeypatch.setattr(direct, "_MOST_TOGETHER", request.param)


def _inserting(db: Database, *rows: dict[str, object]) -> Statement:
    return db.prepare(insert(things), ["name", "word", "seq"]).many(rows)


def _adding(db: Database, *rows: dict[str, object]) -> Script[int]:
    """Adds to what is there, and returns the seq of the first."""
    statement = db.upsert(things, ["name"], lambda old, new: {"seq": old.c.seq + new.seq})
    yield db.prepare(statement, ["name", "word", "seq"]).many(rows)
    query = f"SELECT seq FROM things WHERE name = {db.placeholders(1)}"
    [(seq,)] = yield Statement(query, (rows[0]["name"],))
    return int(seq)


async def test_a_script_is_sent_what_it_asks_for_and_committed_when_it_returns(
    db: Database,
) -> None:
    assert await db.run_write(_adding(db, _row("a", 1), _row("b", 20))) == 1
    assert await db.run_write(_adding(db, _row("a", 1), _row("b", 20))) == 2
    assert await _rows(db) == [("a", 2), ("b", 40)]
    query = select(things.c.seq).order_by(things.c.name)
    assert await db.run_read(lambda read: list(read.execute(query).scalars())) == [2, 40]


async def test_a_script_that_raises_takes_all_back_and_leaves_the_connection_sound(
    db: Database,
) -> None:
    def fail(name: str) -> Script[None]:
        yield _inserting(db, _row(name, 1))
        raise RuntimeError(name)

    # More often than there are connections.
    for n in range(15):
        with pytest.raises(RuntimeError, match=f"n{n}"):
            await db.run_write(fail(f"n{n}"))
    await db.run_write(_adding(db, _row("z", 1)))
    assert await _rows(db) == [("z", 1)]


@pytest.mark.usefixtures("most_together")
async def test_a_duplicate_key_in_a_script_is_told_and_leaves_the_connection_sound(
    db: Database,
) -> None:
    def insert_twice(name: str) -> Script[None]:
        yield _inserting(db, _row(name, 1))
        yield _inserting(db, _row("a", 2, "other"))

    await db.run_write(_adding(db, _row("a", 1)))
    for n in range(15):
        with pytest.raises(IntegrityError) as caught:
            await db.run_write(insert_twice(f"n{n}"))
        assert is_duplicate_key(caught.value)
    await db.run_write(_adding(db, _row("z", 1)))
    assert await _rows(db) == [("a", 1), ("z", 1)]


@pytest.mark.usefixtures("most_together")
async def test_hundreds_of_rows_are_one_statement(db: Database) -> None:
    names = [f"n{n:03}" for n in range(700)]
    # Text that looks like SQL stays text.
    words = [f"{n}'%s?),(" for n in range(700)]
    rows = [_row(name, n, word) for n, (name, word) in enumerate(zip(names, words, strict=True))]
    for _ in range(2):
        await db.run_write(_adding(db, *rows))
    assert await _rows(db) == [(name, 2 * n) for n, name in enumerate(names)]
    async with db.read() as connection:
        found = await connection.execute(select(things.c.word).order_by(things.c.name))
        assert list(found.scalars()) == words


async def test_an_upsert_gives_back_what_is_there_then(db: Database) -> None:
    if not db.has_returning:
        pytest.skip("MySQL gives nothing back")
    statement = db.upsert(things, ["name"], lambda old, new: {"seq": old.c.seq + new.seq})
    prepared = db.prepare(statement, ["name", "word", "seq"])

    def add(*rows: dict[str, object]) -> Script[dict[str, int]]:
        return dict((yield prepared.returning(rows, "name, seq")))

    assert await db.run_write(add(_row("a", 1), _row("b", 20))) == {"a": 1, "b": 20}
    assert await db.run_write(add(_row("b", 5), _row("c", 7))) == {"b": 25, "c": 7}
    assert await _rows(db) == [("a", 1), ("b", 25), ("c", 7)]


@pytest.mark.parametrize("middle", [False, True], ids=["at once", "in the middle"])
async def test_a_cancelled_script_is_there_whole_or_not_at_all_and_holds_nothing(
    db: Database, middle: bool
) -> None:
    loop = asyncio.get_running_loop()
    writing: asyncio.Task[None]

    def insert_two(n: int) -> Script[None]:
        yield _inserting(db, _row(f"{n:02}-a", n))
        yield Statement("SELECT 1", ())
        if middle:
            loop.call_soon_threadsafe(writing.cancel)
        yield _inserting(db, _row(f"{n:02}-b", n))

    for n in range(15):
        writing = asyncio.create_task(db.run_write(insert_two(n)))
        if not middle:
            await asyncio.sleep(0)
            writing.cancel()
        # SQLite's thread may have got to the end before it could be told, and MySQL to the COMMIT.
        await asyncio.wait({writing})
        assert writing.cancelled() or db.is_sqlite
    assert await db.run_write(_adding(db, _row("z", 1))) == 1
    seqs = [seq for name, seq in await _rows(db) if name != "z"]
    assert seqs == sorted([*set(seqs)] * 2)
    # On MySQL a script that was never begun, or was in its middle, is broken off.
    assert db.is_sqlite or middle or not seqs


async def test_writers_of_both_kinds_take_turns(db: Database) -> None:
    statement = db.upsert(things, ["name"], lambda old, new: {"seq": old.c.seq + new.seq})
    query = select(things.c.seq).where(things.c.name == "a")
    await db.run_write(_adding(db, _row("a", 0)))

    async def add() -> int:
        async with db.write() as connection:
            await connection.execute(statement, [_row("a", 1)])
            seq: int = (await connection.execute(query)).scalar_one()
            return seq

    writers = [work for _ in range(20) for work in (add(), db.run_write(_adding(db, _row("a", 1))))]
    seqs = await asyncio.gather(*writers)
    assert sorted(seqs) == list(range(1, 41))
    # Left to itself, SQLite would let some wait for seconds.
    assert seqs == sorted(seqs) or not db.is_sqlite


async def test_a_connection_that_died_while_idle_is_replaced(
    db: Database, conf: DbConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.is_sqlite:
        pytest.skip("a file does not hang up")
    monkeypatch.setattr(im_common.sql.db, "_TRUSTED_S", 0.0)
    query = "SELECT CONNECTION_ID()"

    def script() -> Script[int]:
        [(number,)] = yield Statement(query, ())
        return int(number)

    def work(connection: Connection) -> int:
        return int(connection.execute(text(query)).scalar_one())

    async def read() -> int:
        async with db.read() as connection:
            return await connection.run_sync(work)

    async def write() -> int:
        async with db.write() as connection:
            return await connection.run_sync(work)

    async def dead(number: int) -> bool:
        alive = text("SELECT COUNT(*) FROM information_schema.processlist WHERE id = :id")
        async with other.read() as connection:
            return not (await connection.execute(alive, {"id": number})).scalar_one()

    other = Database(conf)
    ways: list[Callable[[], Awaitable[int]]] = [
        read,
        write,
        lambda: db.run_read(work),
        lambda: db.run_write(script()),
    ]
    try:
        for way in ways:
            number = await way()
            async with other.write() as connection:
                await connection.execute(text(f"KILL {number}"))
            await eventually(partial(dead, number))
            assert await way() != number
    finally:
        await other.close()


async def test_a_server_that_never_answers_is_an_outage_in_the_end(
    db: Database, conf: DbConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host has gone without a word, or something between it and us."""
    if db.is_sqlite:
        pytest.skip("a file answers")
    monkeypatch.setattr(im_common.sql.db, "SILENT_S", 0.3)

    def script(query: str) -> Script[int]:
        rows = yield Statement(query, ())
        return len(rows)

    async def read(query: str) -> None:
        async with other.read() as connection:
            await connection.execute(text(query))

    other = Database(conf)
    ways: list[Callable[[str], Awaitable[Any]]] = [
        read,
        lambda query: other.run_read(lambda connection: connection.execute(text(query)).all()),
        lambda query: other.run_write(script(query)),
    ]
    try:
        for way in ways:
            with pytest.raises(Exception) as raised:
                await way("SELECT SLEEP(20)")
            assert is_outage(raised.value)
            await way("SELECT 1")
    finally:
        await other.close()


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(ValueError, match="IM_DB__PASSWORD"):
        Database(DbConf(data_source="mysql+asyncmy://im:secret@127.0.0.1/im"))


async def test_who_was_rolled_back_for_anothers_sake_tries_again(db: Database) -> None:
    """Both take the same rows in the opposite order: on MySQL one is a deadlock's victim."""
    rows = [{"name": name, "word": name, "seq": 0} for name in "ab"]
    async with db.write() as connection:
        await connection.execute(insert(things), rows)
    attempts = 0
    first_taken = asyncio.Barrier(1 if db.is_sqlite else 2)

    async def count_up(names: str, connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        for name in names:
            change = update(things).where(things.c.name == name).values(seq=things.c.seq + 1)
            await connection.execute(change)
            if name == names[0] and attempts <= 2:
                await first_taken.wait()

    await asyncio.gather(*(transact(db.write, partial(count_up, names)) for names in ("ab", "ba")))
    assert await _rows(db) == [("a", 2), ("b", 2)]
    assert attempts == (2 if db.is_sqlite else 3)


async def test_what_fails_by_itself_is_not_tried_again(db: Database) -> None:
    attempts = 0

    async def twice(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        row = {"name": "a", "word": "a", "seq": 0}
        await connection.execute(insert(things), [row])
        await connection.execute(insert(things), [row])

    with pytest.raises(IntegrityError):
        await transact(db.write, twice)
    assert attempts == 1
    assert await _rows(db) == []
