"""Transactional outbox: a change and the records that tell of it stand or fall together.

A transaction writes its records into the table `outbox` of its own database; :mod:`.outbox_relay`
brings them to the bus. They are written last, after all rows that the change locks: so where one
change has seen another, because it began later or waited for its row, its records come later, too.
Changes that know nothing of each other may come in either order, the same for everybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql

from im_common.runtime import context
from im_common.sql.db import MYSQL_TABLE, AutoId, Database, Upsert, ascii_key

P = ParamSpec("P")
T = TypeVar("T")

MAX_VALUE_BYTES = 512 * 1024
# What is beyond is not counted: a long backlog should not cost more the longer it is.
MOST_COUNTED = 10_000
# The only row of the table of leases.
_ROW = 1


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """A record for the bus; those with one key keep their order."""

    topic: str
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A record as it waits in the table."""

    id: int
    topic: str
    key: str
    value: bytes
    # Of the request that caused it; empty when there was none.
    traceparent: str


class Lease(NamedTuple):
    """Who relays, and how far it has come."""

    owner: str
    turn: int


class Backlog(NamedTuple):
    """What waits: how many records, MOST_COUNTED at most, and since when (Unix ms; None for none)."""

    records: int
    oldest_at: int | None


@dataclass(slots=True)
class Change:
    """A transaction, and what is to be told of it."""

    connection: Connection
    records: list[OutboxRecord] = field(default_factory=list)

    def tell(self, *records: OutboxRecord) -> None:
        """They go out, in order, when and only when the transaction is committed."""
        for record in records:
            if len(record.value) > MAX_VALUE_BYTES:
                raise ValueError(f"a record of {len(record.value)} bytes for {record.topic}")
        self.records += records


class OutboxTables:
    """`outbox`, and `outbox_lease`: which of the instances relays at the moment."""

    def __init__(self, metadata: MetaData) -> None:
        self.rows = Table(
            "outbox",
            metadata,
            Column("id", AutoId, primary_key=True),
            Column("topic", ascii_key(64), nullable=False),
            Column("record_key", ascii_key(64), nullable=False),
            Column(
                "value",
                LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql"),
                nullable=False,
            ),
            Column("traceparent", ascii_key(64), nullable=False),
            Column("created_at", BigInteger, nullable=False),
            **MYSQL_TABLE,
        )
        self.lease = Table(
            "outbox_lease",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            # Empty when nobody relays.
            Column("owner", ascii_key(64), nullable=False),
            # Grows while its owner lives.
            Column("turn", BigInteger, nullable=False),
            **MYSQL_TABLE,
        )


class Outbox:
    """The outbox of one database."""

    def __init__(self, db: Database, tables: OutboxTables) -> None:
        self._db = db
        self._rows, self._lease = tables.rows, tables.lease
        # Called after each commit that left records here.
        self.on_commit: Callable[[], None] = lambda: None

    async def write(
        self, work: Callable[Concatenate[Change, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One transaction, as ``Database.write``."""

        def run(connection: Connection) -> tuple[T, bool]:
            change = Change(connection)
            result = work(change, *args, **kwargs)
            if change.records:
                self._insert(change)
            return result, bool(change.records)

        result, tells = await self._db.write(run)
        if tells:
            self.on_commit()
        return result

    async def relayed(self, within_s: float) -> bool:
        """Waits until what is committed by now is on the bus, for so long at most; whether it is. What
        its callers send to the bus after that comes later."""
        rows = self._rows.c

        def newest(connection: Connection) -> int | None:
            return connection.execute(select(func.max(rows.id))).scalar()

        def waits(connection: Connection, upto: int) -> bool:
            query = select(rows.id).where(rows.id <= upto).limit(1)
            return connection.execute(query).first() is not None

        end, pause_s = time.monotonic() + within_s, 0.002
        upto = await self._db.read(newest)
        while upto is not None and await self._db.read(waits, upto):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)
        return True

    def _insert(self, change: Change) -> None:
        request = context.current.get()
        traceparent = request.traceparent if request else ""
        rows = [
            {
                "topic": record.topic,
                "record_key": record.key,
                "value": record.value,
                "traceparent": traceparent,
                "created_at": time.time_ns() // 1_000_000,
            }
            for record in change.records
        ]
        change.connection.execute(insert(self._rows), rows)

    # --- for the relay -------------------------------------------------------------------------

    async def backlog(self) -> Backlog:
        some = (
            select(self._rows.c.created_at).order_by(self._rows.c.id).limit(MOST_COUNTED).subquery()
        )
        query = select(func.count(), func.min(some.c.created_at)).select_from(some)
        return await self._db.read(lambda connection: Backlog(*connection.execute(query).one()))

    async def take(self, owner: str, *, unless: Lease) -> Lease | None:
        """Makes ``owner`` the one that relays if nobody is, or ``unless`` still is, unchanged. Who is
        instead, or None when it is ``owner`` now."""
        free = or_(
            self._lease.c.owner.in_(("", owner)),
            and_(self._lease.c.owner == unless.owner, self._lease.c.turn == unless.turn),
        )

        def take(connection: Connection) -> Lease | None:
            if self._turn(connection, free, owner):
                return None
            found = connection.execute(select(self._lease.c.owner, self._lease.c.turn))
            if (row := found.first()) is not None:
                return Lease(*row)
            first = Upsert(self._lease, ["id"])
            first.execute(connection, [{"id": _ROW, "owner": owner, "turn": 1}])
            # Another one may have been first.
            return None if self._turn(connection, free, owner) else Lease("", 0)

        return await self._db.write(take)

    async def renew(self, owner: str) -> bool:
        """Whether ``owner`` still is the one that relays; it has as long again if so."""
        return await self._db.write(self._turn, self._lease.c.owner == owner, owner)

    async def oldest(self, most: int) -> list[OutboxRow]:
        return await self._db.read(self._oldest, most)

    async def forget(self, owner: str, ids: Collection[int], most: int) -> list[OutboxRow]:
        """Takes away records that are on the bus, and gives the oldest of the others if ``owner`` still
        relays. When there are none (or ``most`` is 0), it does so no longer."""

        def forget(connection: Connection) -> list[OutboxRow]:
            if ids:
                connection.execute(delete(self._rows).where(self._rows.c.id.in_(ids)))
            if not self._turn(connection, self._lease.c.owner == owner, owner):
                return []
            rows = self._oldest(connection, most)
            if not rows:
                self._turn(connection, self._lease.c.owner == owner, "")
            return rows

        return await self._db.write(forget)

    def _turn(self, connection: Connection, where: ColumnElement[bool], owner: str) -> bool:
        lease = self._lease
        query = update(lease).where(lease.c.id == _ROW, where)
        done = connection.execute(query.values(owner=owner, turn=lease.c.turn + 1))
        return bool(done.rowcount)

    def _oldest(self, connection: Connection, most: int) -> list[OutboxRow]:
        # From the very first: a number that was given early may be committed late.
        rows = self._rows.c
        query = select(rows.id, rows.topic, rows.record_key, rows.value, rows.traceparent)
        found = connection.execute(query.order_by(rows.id).limit(most))
        return [OutboxRow(*row) for row in found]
