"""The tables that the migrations make are those of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from im_common.sql.db import Database
from user_service.model.users import metadata

if TYPE_CHECKING:
    from im_common.runtime.config import DbConf


def differences(connection: Any) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_the_tables_of_the_model(db: DbConf) -> None:
    database = Database(db)
    try:
        assert await database.read(differences) == []
    finally:
        await database.close()
