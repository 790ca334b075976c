"""The outbox and its relay, on each database and each log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from im.common.v1.outbox_pb2 import GetBacklogRequest
from im_common.domain.ids import now_ms
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.sql.outbox import (
    MAX_VALUE_BYTES,
    Backlog,
    Change,
    Lease,
    Outbox,
    OutboxRecord,
    OutboxTables,
)
from im_common.sql.outbox_relay import LEASE_S, OutboxRelay
from im_common.sql.outbox_service import OutboxServicer
from im_common.testing.buses import Bus, Sink, consuming, started
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.queries import counted_queries
from im_common.testing.waiting import eventually

MIGRATIONS = Path(__file__).parents[3] / "friend-service/friend_service/migrations"
tables = OutboxTables(MetaData())


@pytest.fixture(params=KINDS)
def conf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DbConf]:
    with migrated_database(request.param, tmp_path, MIGRATIONS) as conf:
        yield conf


@pytest.fixture
async def db(conf: DbConf) -> AsyncIterator[Database]:
    database = Database(conf)
    yield database
    await database.close()


@asynccontextmanager
async def relaying(outbox: Outbox, bus: Bus) -> AsyncIterator[OutboxRelay]:
    """Relays until the block ends; one that was cancelled in it died."""
    async with started(bus.producer(timeout_ms=1_000)) as producer:
        relay = OutboxRelay(outbox, producer)
        task = asyncio.create_task(relay.run())
        try:
            yield relay
            await relay.stop()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _tell(outbox: Outbox, topic: str, *values: str, key: str = "1001") -> None:
    records = [OutboxRecord(topic, key, value.encode()) for value in values]
    await outbox.write(lambda change: change.tell(*records))


async def _tell_and_fail(outbox: Outbox, topic: str) -> None:
    def fail(change: Change) -> None:
        change.tell(OutboxRecord(topic, "1001", b"no"))
        raise ZeroDivisionError

    await outbox.write(fail)


async def _is_empty(outbox: Outbox) -> bool:
    return (await outbox.backlog()).records == 0


async def test_what_was_committed_is_told_in_order_and_leaves_the_outbox(
    db: Database, bus: Bus, topic: str
) -> None:
    outbox, sink = Outbox(db, tables), Sink()
    async with relaying(outbox, bus), consuming(bus.consumer([topic]), sink):
        for n in range(20):
            await _tell(outbox, topic, f"{n}a", f"{n}b")
        await eventually(lambda: len(sink.values) >= 40)
        await eventually(lambda: _is_empty(outbox))
    assert [value.decode() for value in sink.values] == [
        f"{n}{half}" for n in range(20) for half in "ab"
    ]


async def test_operators_see_what_waits_and_since_when(db: Database, bus: Bus, topic: str) -> None:
    outbox = Outbox(db, tables)
    servicer = OutboxServicer(outbox)
    before = now_ms()
    await _tell(outbox, topic, "a", "b", "c")
    found = await servicer.GetBacklog(GetBacklogRequest(), None)
    assert found.records == 3
    assert before <= found.oldest_at <= now_ms()
    async with relaying(outbox, bus):
        await eventually(lambda: _is_empty(outbox))
    found = await servicer.GetBacklog(GetBacklogRequest(), None)
    assert (found.records, found.oldest_at) == (0, 0)


async def test_nothing_is_told_of_what_was_rolled_back(db: Database, bus: Bus, topic: str) -> None:
    outbox, sink = Outbox(db, tables), Sink()
    async with relaying(outbox, bus), consuming(bus.consumer([topic]), sink):
        with pytest.raises(ZeroDivisionError):
            await _tell_and_fail(outbox, topic)
        await _tell(outbox, topic, "yes")
        await eventually(lambda: sink.values)
    assert sink.values == [b"yes"]


async def test_what_a_dead_instance_left_is_told_by_another(
    db: Database, bus: Bus, topic: str
) -> None:
    # Nobody relays for this one.
    await _tell(Outbox(db, tables), topic, "left")
    outbox, sink = Outbox(db, tables), Sink()
    async with relaying(outbox, bus), consuming(bus.consumer([topic]), sink):
        await eventually(lambda: sink.values)
    assert sink.values == [b"left"]


async def test_one_that_died_at_work_is_replaced(db: Database, bus: Bus, topic: str) -> None:
    dead = Outbox(db, tables)
    await _tell(dead, topic, "first")
    assert await dead.take("dead", unless=Lease("", -1)) is None
    outbox, sink = Outbox(db, tables), Sink()
    async with relaying(outbox, bus), consuming(bus.consumer([topic]), sink):
        await _tell(outbox, topic, "second")
        await eventually(lambda: len(sink.values) == 2, within_s=LEASE_S + 10)
    assert sink.values == [b"first", b"second"]


async def test_several_instances_tell_each_change_once_and_in_order(
    db: Database, bus: Bus, topic: str
) -> None:
    outboxes = [Outbox(db, tables) for _ in range(3)]
    sink = Sink()
    async with AsyncExitStack() as stack:
        for outbox in outboxes:
            await stack.enter_async_context(relaying(outbox, bus))
        await stack.enter_async_context(consuming(bus.consumer([topic]), sink))

        async def tell(key: str) -> None:
            for n in range(15):
                await _tell(outboxes[n % 3], topic, f"{key}:{n}", key=key)

        await asyncio.gather(*(tell(key) for key in ("1001", "1002", "1003")))
        await eventually(lambda: len(sink.values) >= 45, within_s=30)
        await eventually(lambda: _is_empty(outboxes[0]))
    for key in ("1001", "1002", "1003"):
        of_key = [value.decode() for value in sink.values if value.startswith(key.encode())]
        assert of_key == [f"{key}:{n}" for n in range(15)]


async def test_while_the_bus_is_away_changes_go_on_and_wait(
    db: Database, bus: Bus, topic: str
) -> None:
    outbox, sink = Outbox(db, tables), Sink()
    async with relaying(outbox, bus):
        await _tell(outbox, topic, "before")
        await eventually(lambda: _is_empty(outbox))
        async with bus.away():
            for n in range(5):
                await _tell(outbox, topic, str(n))
            backlog = await outbox.backlog()
            assert backlog.records == 5
            assert backlog.oldest_at is not None
        async with consuming(bus.consumer([topic]), sink):
            await eventually(lambda: len(set(sink.values)) == 6, within_s=60)
            await eventually(lambda: _is_empty(outbox), within_s=60)
    # What was not confirmed may come twice, and never before what is older.
    firsts = list(dict.fromkeys(sink.values))
    assert firsts == [b"before", *(str(n).encode() for n in range(5))]


async def test_a_relay_that_has_nothing_to_tell_ends_without_asking_the_database(
    db: Database, bus: Bus, topic: str
) -> None:
    with counted_queries() as queries:
        async with relaying(Outbox(db, tables), bus) as relay:
            await eventually(lambda: [query for query in queries if "outbox" in query])
            await relay.stop()
    assert not [query for query in queries if "outbox_lease" in query]


async def test_a_relay_that_has_stopped_asks_nothing_any_more(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is closed next."""
    outbox, asked, has_ended = Outbox(db, tables), asyncio.Event(), asyncio.Event()

    async def backlog() -> Backlog:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            # As a connection that is given up.
            await asyncio.sleep(0.05)
            has_ended.set()
        raise AssertionError("nobody waits for that")

    monkeypatch.setattr(outbox, "backlog", backlog)
    async with relaying(outbox, bus) as relay:
        await asked.wait()
        await relay.stop()
        assert has_ended.is_set()


async def test_what_was_committed_just_before_the_end_is_told(
    db: Database, bus: Bus, topic: str
) -> None:
    outbox, sink = Outbox(db, tables), Sink()
    async with consuming(bus.consumer([topic]), sink):
        async with relaying(outbox, bus) as relay:
            await _tell(outbox, topic, "last")
            await relay.stop()
            assert await _is_empty(outbox)
        await eventually(lambda: sink.values)
    assert sink.values == [b"last"]


async def test_a_record_too_large_for_the_bus_takes_its_change_back(db: Database) -> None:
    outbox = Outbox(db, tables)
    with pytest.raises(ValueError, match="bytes"):
        await _tell(outbox, "t", "x" * (MAX_VALUE_BYTES + 1))
    assert await _is_empty(outbox)
