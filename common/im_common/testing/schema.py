"""Comparing the tables that migrations make with those of the model."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from im_common.runtime.config import DbConf
from im_common.sql.db import Database


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
