"""Two consumers at two nodes of MariaDB Galera at once, as for a moment while one takes over."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from im_common.runtime.faults import is_outage
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.databases import mysql_server
from im_common.testing.waiting import eventually

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B = 1001, 1002
EACH = 60
CERTIFICATION = 1213


async def test_who_loses_a_certification_is_given_its_batch_again_and_places_it_once(
    world: World, db_conf: DbConf
) -> None:
    """Both write into one conversation, whose row each of their transactions changes."""
    server, url = mysql_server(), make_url(db_conf.data_source)
    if server is None or not server.nodes or url.get_backend_name() == "sqlite":
        pytest.skip("the database is no Galera here")
    seen: Counter[int] = Counter()

    async def consume(node: str, sender: int, to: int) -> None:
        db = Database(server.conf(url.database or "", at=node))
        consumer = world.consumer_on(db)
        for number in range(EACH):
            record = world.record(sender, to, f"{sender}-{number}")
            # As the bus does.
            while True:
                try:
                    finish = await consumer.handle([record])
                    break
                except DBAPIError as error:
                    if not is_outage(error):
                        raise
                    seen[error.orig.args[0]] += 1  # type: ignore[union-attr]
            await finish()
        await db.close()

    first, second, _ = server.nodes
    await asyncio.gather(consume(first, A, B), consume(second, B, A))

    async def is_all_there() -> bool:
        # What another node has answered is here a moment later.
        return len(await world.stored()) == 2 * EACH

    await eventually(is_all_there)
    stored = await world.stored()
    assert [seq for _, seq, _ in stored] == list(range(1, 2 * EACH + 1))
    for user in (A, B):
        texts = [text for *_, text in stored if text.startswith(f"{user}-")]
        assert texts == [f"{user}-{number}" for number in range(EACH)]
    assert world.letters.sent == []
    assert set(seen) == {CERTIFICATION}
