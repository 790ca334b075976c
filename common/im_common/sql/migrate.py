"""Migrations: Alembic scripts that a service carries in its package, run on MySQL and SQLite.

One that was broken off can be repeated: on SQLite nothing of it is there, and on MySQL each step looks.
A database that a newer version has migrated stays as it is: the versions before it go on with it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text

from im_common.runtime.sections import DbConf
from im_common.sql import repeatable_ddl
from im_common.sql.db import Database

# Imported, it is what Alembic takes.
_ = repeatable_ddl.RepeatableMysqlImpl

log = structlog.get_logger(__name__)

LOCK_WAIT_S = 60


def upgrade(conf: DbConf, scripts: Path) -> None:
    """Brings the database to the newest version. Instances that start together take turns."""
    asyncio.run(_upgrade(conf, scripts))


async def _upgrade(conf: DbConf, scripts: Path) -> None:
    if make_url(conf.data_source).get_backend_name() == "sqlite":
        Path(make_url(conf.data_source).database or "").parent.mkdir(parents=True, exist_ok=True)
    database = Database(conf, is_patient=True)
    try:
        await database.write(_run, scripts, database.is_sqlite)
    finally:
        await database.close()


def _run(connection: Connection, scripts: Path, is_sqlite: bool) -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = connection
    if not is_sqlite:
        # DDL is not transactional there; the lock is this connection's and ends with it.
        taken = connection.execute(
            text("SELECT GET_LOCK(CONCAT('im_migrate_', DATABASE()), :wait)"),
            {"wait": LOCK_WAIT_S},
        ).scalar()
        if taken != 1:
            raise TimeoutError("another migration of this database is running")
        connection.commit()
    if newer := _newer(connection, config):
        # An instance of the old version that starts again during a roll-out.
        log.info("the database is newer than this version", revision=newer)
        return
    command.upgrade(config, "head")


def _newer(connection: Connection, config: Config) -> str | None:
    """Where the database is, when these scripts do not know it."""
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    return None if revision in known else revision


def run_env() -> None:
    """The whole of a service's `migrations/env.py`."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
