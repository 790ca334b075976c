"""The tables that the migrations make are those of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from auth_service.model.credentials import metadata
from im_common.sql.db import Database

if TYPE_CHECKING:
    from conftest import Databases


def differences(connection: Any) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_the_tables_of_the_model(dbs: Databases) -> None:
    database = Database(dbs.auth)
    try:
        assert await database.read(differences) == []
    finally:
        await database.close()
