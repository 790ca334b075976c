"""Fixtures for the tests of a service: its conftest.py imports those it wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from im_common.runtime.redis_client import open_redis
from im_common.testing.infra_redis import SharedRedis, infra_redis
from im_common.testing.people import People, people_there
from im_common.testing.valkey import ValkeyServer


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer | SharedRedis]:
    """A server of these tests, or several where IM_TEST_INFRA has several."""
    if shared := infra_redis():
        yield shared
        return
    with ValkeyServer.running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def lone_valkey(
    valkey: ValkeyServer | SharedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ValkeyServer]:
    """One server of these tests in any case: several are no bus."""
    if isinstance(valkey, ValkeyServer):
        yield valkey
        return
    with ValkeyServer.running(tmp_path_factory.mktemp("lone-valkey")) as server:
        yield server


@pytest.fixture
async def redis(valkey: ValkeyServer | SharedRedis) -> AsyncIterator[Redis]:
    """An empty Redis."""
    client = open_redis(valkey.conf)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def people(redis: Redis) -> AsyncIterator[People]:
    async with people_there(redis) as people:
        yield people
