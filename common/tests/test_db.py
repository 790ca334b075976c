"""SQL on both sides of the swap."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.util import await_only

from im_common.runtime.faults import is_outage
from im_common.runtime.sections import DbConf
from im_common.sql import backends, direct
from im_common.sql.contention import transact
from im_common.sql.db import (
    MYSQL_TABLE,
    AutoId,
    Database,
    Upsert,
    ascii_key,
    greatest,
    is_duplicate_key,
)
from im_common.sql.direct import PreparedInsert, Statement, select_in, send
from im_common.sql.migrate import upgrade
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.queries import counted_queries
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
    with migrated_database(request.param, tmp_path, MIGRATIONS) as conf:
        yield conf


@pytest.fixture
async def db(conf: DbConf) -> AsyncIterator[Database]:
    database = Database(conf)
    await database.write(metadata.create_all)
    yield database
    await database.close()


async def _rows(db: Database) -> list[tuple[str, int]]:
    query = select(things.c.name, things.c.seq).order_by(things.c.name)
    rows = await db.read(lambda connection: connection.execute(query).all())
    return [(row[0], row[1]) for row in rows]


def _row(name: str, seq: int, word: str = "") -> dict[str, object]:
    return {"name": name, "word": word or name, "seq": seq}


def _insert(connection: Connection, *rows: dict[str, object]) -> None:
    connection.execute(insert(things), rows)


def _seq(connection: Connection, name: str) -> int:
    return connection.execute(select(things.c.seq).where(things.c.name == name)).scalar_one()


ADD = Upsert(things, ["name"], lambda old, new: {"seq": old.seq + new.seq})


async def test_an_upsert_adds_to_what_is_there(db: Database) -> None:
    for _ in range(2):
        await db.write(ADD.execute, [_row("a", 1), _row("b", 20)])
    assert await _rows(db) == [("a", 2), ("b", 40)]


async def test_an_upsert_may_change_nothing_or_only_upwards(db: Database) -> None:
    keep = Upsert(things, ["name"])
    raise_ = Upsert(things, ["name"], lambda old, new: {"seq": greatest(old.seq, new.seq)})

    def change(connection: Connection) -> None:
        keep.execute(connection, [_row("a", 5)])
        keep.execute(connection, [_row("a", 6)])
        raise_.execute(connection, [_row("a", 4)])
        assert _seq(connection, "a") == 5
        raise_.execute(connection, [_row("a", 9)])

    await db.write(change)
    assert await _rows(db) == [("a", 9)]


async def test_an_exception_takes_the_whole_transaction_back(db: Database) -> None:
    def insert_and_fail(connection: Connection) -> None:
        _insert(connection, _row("a", 1))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await db.write(insert_and_fail)
    assert await _rows(db) == []


async def test_a_duplicate_key_is_told_from_other_faults(db: Database) -> None:
    await db.write(_insert, _row("a", 1))
    with pytest.raises(IntegrityError) as caught:
        await db.write(_insert, _row("a", 2, "other"))
    assert is_duplicate_key(caught.value)
    assert not is_duplicate_key(ValueError("UNIQUE"))


async def test_emoji_accents_and_cases_are_not_one_another(db: Database) -> None:
    words = ["😀", "😁", "e", "é", "E", "你", "ß", "ss"]
    await db.write(_insert, *(_row(f"n{i}", i, word) for i, word in enumerate(words)))

    def found(connection: Connection, word: str) -> list[int]:
        query = select(things.c.seq).where(things.c.word == word)
        return list(connection.execute(query).scalars())

    for i, word in enumerate(words):
        assert await db.read(found, word) == [i]


async def test_writers_take_turns(db: Database) -> None:
    def add(connection: Connection) -> int:
        ADD.execute(connection, [_row("a", 1)])
        return _seq(connection, "a")

    seqs = await asyncio.gather(*(db.write(add) for _ in range(20)))
    assert sorted(seqs) == list(range(1, 21))
    # Left to itself, SQLite would let some wait for seconds.
    assert seqs == sorted(seqs) or not db.is_sqlite


async def test_who_writes_is_told_of_the_request_it_writes_for(db: Database) -> None:
    request: ContextVar[str] = ContextVar("request")
    request.set("r1")
    for way in (db.read, db.write):
        assert await way(lambda _connection: request.get()) == "r1"


# --- transactions on the driver itself -----------------------------------------------------------


async def test_a_database_that_a_newer_version_has_migrated_stays_as_it_is(
    db: Database, conf: DbConf
) -> None:
    """An instance of the old one that starts again during a roll-out goes on with it."""
    await db.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    await asyncio.to_thread(upgrade, conf, MIGRATIONS)
    found = await db.read(
        lambda c: c.execute(text("SELECT version_num FROM alembic_version")).all()
    )
    assert [tuple(row) for row in found] == [("9999",)]


@pytest.fixture(params=[1024 * 1024, 0], ids=["together", "one by one"])
def most_together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements go to MySQL in one packet, or are too long for that."""
    monkeypatch.setattr(direct, "_MOST_TOGETHER", request.param)


# In the order of the table, and in another one.
INSERT = PreparedInsert(insert(things), ["name", "word", "seq"])
ADDING = PreparedInsert(ADD, ["word", "seq", "name"])


def _put_off(connection: Connection, prepared: PreparedInsert, *rows: dict[str, object]) -> None:
    prepared.put_off(connection, _values(prepared, rows))


def _values(prepared: PreparedInsert, rows: Iterable[dict[str, object]]) -> list[list[object]]:
    return [[row[name] for name in prepared.columns] for row in rows]


def _adding(connection: Connection, *rows: dict[str, object]) -> int:
    """Adds to what is there, and returns the seq of the first."""
    _put_off(connection, ADDING, *rows)
    [(seq,)] = select_in(connection, "SELECT seq FROM things WHERE name IN ({})", [rows[0]["name"]])
    return int(seq)


async def test_a_statement_on_the_driver_is_part_of_its_transaction(db: Database) -> None:
    assert await db.write(_adding, _row("a", 1), _row("b", 20)) == 1
    assert await db.write(_adding, _row("a", 1), _row("b", 20)) == 2
    assert await _rows(db) == [("a", 2), ("b", 40)]


async def test_what_was_put_off_comes_before_what_follows_and_is_committed(db: Database) -> None:
    def mix(connection: Connection) -> list[int]:
        _put_off(connection, INSERT, _row("a", 1))
        first = _seq(connection, "a")
        ADD.execute(connection, [_row("a", 1)])
        _put_off(connection, ADDING, _row("a", 10))
        [(second,)] = send(connection, Statement("SELECT seq FROM things"))
        _put_off(connection, ADDING, _row("a", 100))
        return [first, second]

    assert await db.write(mix) == [1, 12]
    assert await _rows(db) == [("a", 112)]


async def test_work_that_raises_takes_all_back_and_leaves_the_connection_sound(
    db: Database,
) -> None:
    def fail(connection: Connection, name: str) -> None:
        _put_off(connection, INSERT, _row(name, 1))
        send(connection, Statement("SELECT 1"))
        _put_off(connection, INSERT, _row(f"{name}-b", 1))
        raise RuntimeError(name)

    # More often than there are connections.
    for n in range(15):
        with pytest.raises(RuntimeError, match=f"n{n}"):
            await db.write(fail, f"n{n}")
    await db.write(_adding, _row("z", 1))
    assert await _rows(db) == [("z", 1)]


@pytest.mark.usefixtures("most_together")
async def test_a_duplicate_key_on_the_driver_is_told_and_leaves_the_connection_sound(
    db: Database,
) -> None:
    def insert_twice(connection: Connection, name: str) -> None:
        _put_off(connection, INSERT, _row(name, 1))
        _put_off(connection, INSERT, _row("a", 2, "other"))

    await db.write(_adding, _row("a", 1))
    for n in range(15):
        with pytest.raises(IntegrityError) as caught:
            await db.write(insert_twice, f"n{n}")
        assert is_duplicate_key(caught.value)
    await db.write(_adding, _row("z", 1))
    assert await _rows(db) == [("a", 1), ("z", 1)]


@pytest.mark.usefixtures("most_together")
async def test_hundreds_of_rows_are_one_statement(db: Database) -> None:
    names = [f"n{n:03}" for n in range(700)]
    # Text that looks like SQL stays text.
    words = [f"{n}'%s?),(" for n in range(700)]
    rows = [_row(name, n, word) for n, (name, word) in enumerate(zip(names, words, strict=True))]
    for _ in range(2):
        await db.write(_adding, *rows)
    assert await _rows(db) == [(name, 2 * n) for n, name in enumerate(names)]
    query = select(things.c.word).order_by(things.c.name)
    found = await db.read(lambda connection: list(connection.execute(query).scalars()))
    assert found == words


async def test_a_prepared_upsert_is_in_the_words_of_its_server_from_the_first_on(
    conf: DbConf,
) -> None:
    maker = Database(conf)
    await maker.write(metadata.create_all)
    await maker.close()
    db = Database(conf)
    prepared = PreparedInsert(ADD, INSERT.columns)
    with counted_queries() as statements:
        await db.write(_put_off, prepared, _row("a", 1))
    is_mysql = await db.read(
        lambda connection: (
            connection.dialect.name == "mysql" and not getattr(connection.dialect, "is_mariadb", 0)
        )
    )
    # There VALUES(seq) will be no more one day; to MariaDB and SQLite the other is a syntax error.
    (upsert,) = [one for one in statements if "INSERT" in one]
    assert (" AS new ON DUPLICATE KEY UPDATE " in upsert) == is_mysql
    await db.close()


async def test_an_upsert_gives_back_what_is_there_then(db: Database) -> None:
    if not await db.write(lambda connection: connection.dialect.insert_returning):
        pytest.skip("MySQL gives nothing back")

    def add(connection: Connection, *rows: dict[str, object]) -> dict[str, int]:
        return dict(ADDING.returning(connection, _values(ADDING, rows), "name, seq"))

    assert await db.write(add, _row("a", 1), _row("b", 20)) == {"a": 1, "b": 20}
    assert await db.write(add, _row("b", 5), _row("c", 7)) == {"b": 25, "c": 7}
    assert await _rows(db) == [("a", 1), ("b", 25), ("c", 7)]


# --- what is cancelled ---------------------------------------------------------------------------


def _by_model(connection: Connection, *rows: dict[str, object]) -> None:
    ADD.execute(connection, rows)


@pytest.mark.parametrize("write", [_by_model, _adding], ids=["by SQLAlchemy", "on the driver"])
@pytest.mark.parametrize("middle", [False, True], ids=["at once", "in the middle"])
async def test_a_hundred_that_are_cancelled_are_there_whole_or_not_at_all_and_hold_nothing(
    db: Database, middle: bool, write: Callable[..., object]
) -> None:
    """The next one has its turn at once, and not when the garbage collector comes by."""
    loop = asyncio.get_running_loop()
    writing: asyncio.Task[None]

    def write_two(connection: Connection, n: int) -> None:
        write(connection, _row("all", 1))
        write(connection, _row(f"{n:03}-a", n))
        if middle:
            loop.call_soon_threadsafe(writing.cancel)
        write(connection, _row(f"{n:03}-b", n))

    gc.disable()
    try:
        for n in range(100):
            writing = asyncio.create_task(db.write(write_two, n))
            if not middle:
                await asyncio.sleep(0)
                writing.cancel()
            # MySQL may have got to the COMMIT.
            await asyncio.wait({writing})
        async with asyncio.timeout(5):
            await db.write(write, _row("all", 1000))
    finally:
        gc.enable()
    rows = await _rows(db)
    seqs = [seq for name, seq in rows if name != "all"]
    assert seqs == sorted([*set(seqs)] * 2)
    assert rows[-1] == ("all", 1000 + len(seqs) // 2)


async def test_a_write_that_waits_for_its_turn_and_is_cancelled_never_happens(
    db: Database,
) -> None:
    holding, going_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        _insert(connection, _row("a", 1))
        holding.set()
        going_on.wait(10)

    if not db.is_sqlite:
        pytest.skip("writers of MySQL wait in the server, and then for a row")
    first = asyncio.create_task(db.write(hold))
    await asyncio.to_thread(holding.wait, 10)
    waiting = [asyncio.create_task(db.write(_insert, _row(f"w{n}", n))) for n in range(20)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    going_on.set()
    await first
    await db.write(_insert, _row("z", 1))
    assert await _rows(db) == [("a", 1), ("z", 1)]


async def test_a_connection_that_died_while_idle_is_replaced(
    db: Database, conf: DbConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.is_sqlite:
        pytest.skip("a file does not hang up")
    monkeypatch.setattr(backends, "_TRUSTED_S", 0.0)
    query = "SELECT CONNECTION_ID()"

    def work(connection: Connection) -> int:
        return int(connection.execute(text(query)).scalar_one())

    def on_driver(connection: Connection) -> int:
        return int(send(connection, Statement(query))[0][0])

    async def dead(number: int) -> bool:
        alive = text("SELECT COUNT(*) FROM information_schema.processlist WHERE id = :id")
        found = await other.read(lambda read: read.execute(alive, {"id": number}).scalar_one())
        return not found

    other = Database(conf)
    ways: list[Callable[[], Awaitable[int]]] = [
        partial(db.read, work),
        partial(db.write, work),
        partial(db.write, on_driver),
    ]
    try:
        for way in ways:
            number = await way()
            kill = text(f"KILL {number}")
            await other.write(lambda connection, kill=kill: connection.execute(kill).close())
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
    monkeypatch.setattr(backends, "SILENT_S", 0.3)

    def work(connection: Connection, query: str) -> None:
        connection.execute(text(query)).close()

    def on_driver(connection: Connection, query: str) -> None:
        send(connection, Statement(query))

    other = Database(conf)
    ways: list[Callable[[str], Awaitable[None]]] = [
        partial(other.read, work),
        partial(other.write, work),
        partial(other.write, on_driver),
    ]
    try:
        for way in ways:
            with pytest.raises(Exception) as raised:
                await way("SELECT SLEEP(20)")
            assert is_outage(raised.value)
            await way("SELECT 1")
    finally:
        await other.close()


async def test_a_server_that_reads_no_more_is_an_outage_while_a_big_statement_is_sent(
    db: Database, conf: DbConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.is_sqlite:
        pytest.skip("a file is no server")
    monkeypatch.setattr(backends, "SILENT_S", 0.5)
    flowing = asyncio.Event()
    flowing.set()
    length = text("SELECT LENGTH(:big)")
    async with _between(conf, flowing) as through:
        other = Database(through)
        try:
            for work in (other.read, other.write):
                await work(lambda connection: connection.execute(text("SELECT 1")).close())
                flowing.clear()
                with pytest.raises(Exception) as raised:
                    async with asyncio.timeout(20):
                        await work(lambda c: c.execute(length, {"big": "x" * 12_000_000}).close())
                assert is_outage(raised.value)
                assert not isinstance(raised.value, TimeoutError)
                flowing.set()
        finally:
            await other.close()


@asynccontextmanager
async def _between(conf: DbConf, flowing: asyncio.Event) -> AsyncIterator[DbConf]:
    """The same server by a way that passes something on while ``flowing`` is set."""
    url = make_url(conf.data_source)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await flowing.wait()
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to, back = await asyncio.open_connection(url.host, url.port)
        try:
            await asyncio.gather(pass_on(reader, back), pass_on(to, writer))
        except ConnectionError:
            pass
        finally:
            back.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield conf.model_copy(update={"data_source": str(url.set(host="127.0.0.1", port=port))})


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(ValueError, match="IM_DB__PASSWORD"):
        Database(DbConf(data_source="mysql+asyncmy://im:secret@127.0.0.1/im"))


async def test_who_was_rolled_back_for_anothers_sake_tries_again(db: Database) -> None:
    """Both take the same rows in the opposite order: on MySQL one is a deadlock's victim."""
    await db.write(_insert, _row("a", 0), _row("b", 0))
    attempts = 0
    first_taken = asyncio.Barrier(2)

    def count_up(names: str, connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        for name in names:
            change = update(things).where(things.c.name == name).values(seq=things.c.seq + 1)
            connection.execute(change)
            if name == names[0] and attempts <= 2 and not db.is_sqlite:
                await_only(first_taken.wait())

    await asyncio.gather(*(transact(db.write, partial(count_up, names)) for names in ("ab", "ba")))
    assert await _rows(db) == [("a", 2), ("b", 2)]
    assert attempts == (2 if db.is_sqlite else 3)


async def test_what_fails_by_itself_is_not_tried_again(db: Database) -> None:
    attempts = 0

    def twice(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        _insert(connection, _row("a", 0))
        _insert(connection, _row("a", 0))

    with pytest.raises(IntegrityError):
        await transact(db.write, twice)
    assert attempts == 1
    assert await _rows(db) == []
