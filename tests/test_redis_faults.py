"""Faults of Redis that is a cluster or behind Sentinels, under the load of `test_faults.py` and ending
in the same count. `scripts/infra up --with redis-cluster`, or `redis-sentinel`, starts these."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from im_infra import INFRA, frozen, kill, real_pids, start_what_is_dead
from im_load import Load
from redis.crc import key_slot
from test_faults import FROZEN_S, loaded

from im_common.testing.infra_redis import SharedRedis, infra_redis
from im_common.testing.waiting import eventually
from im_local.infra import read_port_offset
from im_local.paths import DataDir
from im_local.redis_servers import RedisServers
from im_local.testing import System


@pytest.fixture
def shared() -> SharedRedis:
    found = infra_redis()
    if found is None:
        pytest.skip("Redis is one server here, or none")
    return found


@pytest.fixture
def servers(shared: SharedRedis) -> RedisServers:
    """To do with them what an operator does."""
    data = DataDir.at(Path(INFRA or "").resolve().parent)
    is_cluster = shared.conf.type == "cluster"
    return RedisServers(data, is_cluster=is_cluster, port_offset=read_port_offset(data))


@pytest.fixture
async def load(shared: SharedRedis, system: System, http: httpx.AsyncClient) -> AsyncIterator[Load]:
    async with loaded(system, http) as running:
        yield running


async def test_a_master_killed_and_another_leads(
    system: System, shared: SharedRedis, servers: RedisServers, load: Load
) -> None:
    """It comes back only when the others have gone on without it for a while."""
    name = shared.a_master()
    load.watch("a master of Redis killed, its replica leads")
    kill(system, name)
    await eventually(lambda: _leads_without(servers, name), within_s=60)
    await load.sent_after(time.monotonic())
    await load.run_for(5)
    await asyncio.to_thread(start_what_is_dead)
    await load.sent_after(time.monotonic())


async def test_a_master_frozen_until_another_leads(
    system: System, shared: SharedRedis, load: Load
) -> None:
    """When it goes on it believes that it is one, for a moment."""
    load.watch(f"a master of Redis frozen for {FROZEN_S:g} s, its replica leads")
    with frozen(system, "redis"):
        await load.run_for(FROZEN_S)
    await load.sent_after(time.monotonic())
    await load.run_for(10)


async def test_slots_moved(shared: SharedRedis, servers: RedisServers, load: Load) -> None:
    """Those of the lists of all who talk, and of what all share."""
    if shared.conf.type != "cluster":
        pytest.skip("no cluster")
    load.watch("slots of Redis moved")
    users = [user.user_id for pair in load.pairs for user in (pair.a, pair.b)]
    keys = [
        f"{kind}:{user_id}" for user_id in users for kind in ("offline:msg", "route", "recalls")
    ]
    for key in ["presence", "sessions:ended", *keys]:
        await asyncio.to_thread(servers.move, key_slot(key.encode()))
    await load.sent_after(time.monotonic())


def _leads_without(servers: RedisServers, name: str) -> bool:
    """Whether all slots, or the name, have a master that is not the dead one."""
    assert name in real_pids()
    return servers.masters_without(name)
