"""Real servers, and small stand-ins for the owners of the policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

import chat_service
from im_common.config import DbConf
from im_common.db import Database
from im_common.redis_client import open_redis
from im_common.testing.databases import KINDS, migrated_database, missing
from im_common.testing.valkey import ValkeyServer

MIGRATIONS = Path(chat_service.__file__).parent / "migrations"


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    """An empty Redis."""
    client = open_redis(valkey.conf)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(params=KINDS)
def db_conf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DbConf]:
    reason = missing(request.param)
    if reason:
        pytest.skip(reason)
    with migrated_database(request.param, tmp_path, MIGRATIONS) as conf:
        yield conf


@pytest.fixture
async def db(db_conf: DbConf) -> AsyncIterator[Database]:
    database = Database(db_conf)
    yield database
    await database.close()
