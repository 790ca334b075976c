"""The relay costs what it relays, however much waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, MetaData, insert, literal, select

from im_common.sql.db import Database
from im_common.sql.outbox import MOST_COUNTED, Lease, Outbox, OutboxTables
from im_common.testing.plans import PRIMARY, Work, filled_fixtures, plans, rows_read

MIGRATIONS = Path(__file__).parents[2] / "friend-service/friend_service/migrations"
tables = OutboxTables(MetaData())
WAITING = 100_000
BATCH = 500
OWNER = "me"


def _fill(connection: Connection) -> None:
    """As many records as WAITING, and who relays them."""
    rows, lease = tables.rows, tables.lease
    first = {"topic": "t", "record_key": "1001", "value": b"x" * 50, "traceparent": ""}
    some = [first | {"created_at": at} for at in range(WAITING // 100)]
    connection.execute(insert(rows), some)
    same = select(rows.c.topic, rows.c.record_key, rows.c.value, rows.c.traceparent, literal(1))
    for _ in range(99):
        copied = insert(rows).from_select([*first, "created_at"], same.limit(len(some)))
        connection.execute(copied)
    connection.execute(insert(lease), [{"id": 1, "owner": OWNER, "turn": 1}])


filled_conf, filled = filled_fixtures(MIGRATIONS, _fill)


class _OneConnection:
    """A Database whose transactions are all parts of one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return work(self._connection, *args, **kwargs)

    write = read


def _work(call: Callable[[Outbox], Coroutine[Any, Any, Any]]) -> Work:
    def work(connection: Connection) -> Any:
        outbox = Outbox(cast(Database, _OneConnection(connection)), tables)
        # Nothing in it waits.
        with pytest.raises(StopIteration) as ended:
            call(outbox).send(None)
        return ended.value.value

    return work


# What it is, and how many rows it may read.
WORK: dict[str, tuple[Work, int]] = {
    "the oldest": (_work(lambda outbox: outbox.oldest(BATCH)), BATCH),
    # What it takes away, the next ones, and the lease.
    "the next": (
        _work(lambda outbox: outbox.forget(OWNER, range(1, BATCH + 1), BATCH)),
        3 * BATCH,
    ),
    "taken": (_work(lambda outbox: outbox.take("other", unless=Lease(OWNER, 1))), 5),
    "renewed": (_work(lambda outbox: outbox.renew(OWNER)), 5),
    # Once a second.
    "what waits": (_work(lambda outbox: outbox.backlog()), 2 * MOST_COUNTED + 5),
    "whether it is told": (_work(lambda outbox: outbox.relayed(0)), 5),
}


@pytest.mark.parametrize("what", WORK)
async def test_the_relay_costs_what_it_relays(filled: Database, what: str) -> None:
    work, most = WORK[what]
    read = await rows_read(filled, work)
    # SQLite counts none, and does not name the key in whose order it begins to read a table.
    keys = (PRIMARY, "") if read is None else (PRIMARY,)
    for found in await plans(filled, work):
        for step in found.steps:
            assert step.key in keys or step.table == "outbox_lease"
        assert not found.is_sorted
    # And the one before the first, which MySQL counts.
    assert read is None or read <= most + 1
