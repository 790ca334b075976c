"""The tables that the migrations make are those of the model."""

from __future__ import annotations

from chat_service.model.tables import metadata
from im_common.runtime.config import DbConf
from im_common.testing.schema import schema_differences


async def test_the_migrations_make_the_tables_of_the_model(db_conf: DbConf) -> None:
    assert await schema_differences(db_conf, metadata) == []
