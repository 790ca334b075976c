"""What migrations make: the tables of the model, also when they are broken off and repeated."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, event
from sqlalchemy.engine import Engine

from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.sql.migrate import upgrade
from im_common.testing.databases import empty_mysql_database

_STEP = re.compile(r"\s*(CREATE|ALTER|DROP)\b", re.IGNORECASE)


async def schema_differences(conf: DbConf, metadata: MetaData) -> list[Any]:
    """What a migration would have to change in the database to make it the model's."""

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    database = Database(conf)
    try:
        return await database.read(compare)
    finally:
        await database.close()


class BrokenOff(Exception):
    """In the middle of a migration."""


def check_that_broken_migrations_can_be_repeated(migrations: Path, metadata: MetaData) -> None:
    """On MySQL or MariaDB: brings an empty database to the newest version by attempts each of which is
    broken off after one step more. Skips the test when there is no such server."""
    with empty_mysql_database() as conf:
        done: list[str] = []
        while True:
            try:
                with _broken_off_after_a_step(done):
                    upgrade(conf, migrations)
                break
            except BrokenOff:
                continue
        assert len(done) > len(metadata.tables)
        assert asyncio.run(schema_differences(conf, metadata)) == []


@contextmanager
def _broken_off_after_a_step(done: list[str]) -> Iterator[None]:
    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        # One that does no harm a second time is done again.
        if _STEP.match(statement) and statement not in done:
            done.append(statement)
            raise BrokenOff

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(Engine, "after_cursor_execute", note)
