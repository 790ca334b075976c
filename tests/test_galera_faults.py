"""Faults of three nodes of MariaDB Galera behind their proxy, under the load of `test_faults.py` and
ending in the same count. `scripts/infra up --with galera` starts these."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from im_cluster import has_ended
from im_infra import frozen, galera, kill, real_pids, start_what_is_dead
from im_load import Load
from test_faults import FROZEN_S, loaded

from im_common.testing.waiting import eventually
from im_local.galera import NODES, Galera
from im_local.testing import System


@pytest.fixture
def nodes() -> Galera:
    found = galera()
    if found is None:
        pytest.skip("the database is no Galera here")
    return found


@pytest.fixture
async def load(nodes: Galera, system: System, http: httpx.AsyncClient) -> AsyncIterator[Load]:
    async with loaded(system, http) as running:
        yield running
    await _is_whole(nodes)


async def test_the_node_in_use_killed(system: System, nodes: Galera, load: Load) -> None:
    node = await asyncio.to_thread(nodes.in_use)
    load.watch("the node of Galera in use killed, the others alone for 15 s")
    kill(system, f"mysql-{node}")
    await load.run_for(FROZEN_S)
    await asyncio.to_thread(start_what_is_dead)
    await load.sent_after(time.monotonic())
    # It comes back as one that waits for its turn.
    assert await asyncio.to_thread(nodes.in_use) != node


async def test_the_node_in_use_frozen(system: System, nodes: Galera, load: Load) -> None:
    node = await asyncio.to_thread(nodes.in_use)
    load.watch(f"the node of Galera in use frozen for {FROZEN_S:g} s")
    with frozen(system, f"mysql-{node}"):
        await load.run_for(FROZEN_S)
    await load.sent_after(time.monotonic())
    await _is_whole(nodes)
    assert await asyncio.to_thread(nodes.in_use) != node


async def test_another_node_frozen(system: System, nodes: Galera, load: Load) -> None:
    """Each commit waits for all nodes, until the others have put it out."""
    used = await asyncio.to_thread(nodes.in_use)
    node = next(node for node in NODES if node != used)
    load.watch(f"a node of Galera that is not in use frozen for {FROZEN_S:g} s")
    with frozen(system, f"mysql-{node}"):
        await load.run_for(FROZEN_S)
    await load.sent_after(time.monotonic())


async def test_the_node_in_use_made_read_only(nodes: Galera, load: Load) -> None:
    node = await asyncio.to_thread(nodes.in_use)
    load.watch("the node of Galera in use made read-only")
    await asyncio.to_thread(partial(nodes.ask, "SET GLOBAL read_only = 1", node=node))
    try:
        await load.sent_after(time.monotonic() + 1)
        await load.run_for(5)
        assert await asyncio.to_thread(nodes.in_use) != node
    finally:
        await asyncio.to_thread(partial(nodes.ask, "SET GLOBAL read_only = 0", node=node))
    await load.sent_after(time.monotonic())


async def test_the_nodes_restarted_one_after_the_other(
    system: System, nodes: Galera, load: Load
) -> None:
    load.watch("a rolling restart of the nodes of Galera")
    for node in NODES:
        pid = real_pids()[f"mysql-{node}"]
        kill(system, f"mysql-{node}", signal.SIGTERM)
        await eventually(partial(has_ended, pid), within_s=60)
        await asyncio.to_thread(start_what_is_dead)
        # What an operator waits for before the next.
        await _is_whole(nodes)
        await load.sent_after(time.monotonic())


async def _is_whole(nodes: Galera) -> None:
    await eventually(partial(asyncio.to_thread, nodes.is_whole), within_s=60)
