"""The tables that the migrations make are those of the model."""

from __future__ import annotations

from pathlib import Path

import chat_service
from chat_service.model.tables import metadata
from im_common.runtime.sections import DbConf
from im_common.testing.schema import (
    check_that_broken_migrations_can_be_repeated,
    schema_differences,
)


async def test_the_migrations_make_the_tables_of_the_model(db_conf: DbConf) -> None:
    assert await schema_differences(db_conf, metadata) == []


def test_a_migration_that_is_broken_off_after_any_step_can_be_repeated() -> None:
    migrations = Path(chat_service.__file__).parent / "migrations"
    check_that_broken_migrations_can_be_repeated(migrations, metadata)
