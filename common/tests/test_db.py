"""SQL on both sides of the swap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, MetaData, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from im_common.config import DbConf
from im_common.db import MYSQL_TABLE, AutoId, Database, ascii_key, is_duplicate_key
from im_common.testing.databases import KINDS, migrated_database, missing

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


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(ValueError, match="IM_DB__PASSWORD"):
        Database(DbConf(data_source="mysql+asyncmy://im:secret@127.0.0.1/im"))
