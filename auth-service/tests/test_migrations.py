"""The tables that the migrations make are those of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import auth_service
from auth_service.model.credentials import metadata
from im_common.testing.schema import (
    check_that_broken_migrations_can_be_repeated,
    schema_differences,
)

if TYPE_CHECKING:
    from conftest import Databases


async def test_the_migrations_make_the_tables_of_the_model(dbs: Databases) -> None:
    assert await schema_differences(dbs.auth, metadata) == []


def test_a_migration_that_is_broken_off_after_any_step_can_be_repeated() -> None:
    migrations = Path(auth_service.__file__).parent / "migrations"
    check_that_broken_migrations_can_be_repeated(migrations, metadata)
