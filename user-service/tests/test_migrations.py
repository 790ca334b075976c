"""The tables that the migrations make are those of the model."""

from __future__ import annotations

from pathlib import Path

import user_service
from im_common.runtime.sections import DbConf
from im_common.testing.schema import (
    check_that_broken_migrations_can_be_repeated,
    schema_differences,
)
from user_service.model.users import metadata


async def test_the_migrations_make_the_tables_of_the_model(db: DbConf) -> None:
    assert await schema_differences(db, metadata) == []


def test_a_migration_that_is_broken_off_after_any_step_can_be_repeated() -> None:
    migrations = Path(user_service.__file__).parent / "migrations"
    check_that_broken_migrations_can_be_repeated(migrations, metadata)
