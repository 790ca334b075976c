"""Faults under a steady load, all ending in the same count: every message that was answered `sent`
is stored once and received, every stored one was sent, `seq` has no gap, order holds; every change of
friends and groups that was confirmed is told once and in order, and none that was refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from im_changes import Changes, Group
from im_infra import SERVERS, LossyMysql, frozen, kill_and_start, pid_of
from im_instances import one_more
from im_load import Load

from im_local.testing import System

FROZEN_S = 15.0
# What four such loads at a time, and pages in a browser beside them, leave two cores free for.
PAIRS, RATE = 6, 100


@pytest.fixture
async def load(system: System, http: httpx.AsyncClient) -> AsyncIterator[Load]:
    async with loaded(system, http) as running:
        yield running


@asynccontextmanager
async def loaded(
    system: System, http: httpx.AsyncClient, *, rate: int = RATE
) -> AsyncIterator[Load]:
    """Runs already, with changes of friends and groups beside it; ends with the count of both."""
    running = Load(system, http, pairs=PAIRS, rate=rate)
    await running.start()
    changes = Changes(system, http)
    # Those of the load, which is written to all the time.
    groups = [Group(p.group_id, p.a, p.b, p.said, p.placed) for p in running.pairs if p.group_id]
    async with changes.running(groups):
        await running.sent_after(0.0)
        yield running
        await changes.finish()
        await running.finish()
        await changes.check(
            gaps=running.gateway_died or running.gateway_stood_still,
            anywhere=running.gateway_stood_still,
        )
    print(f"\n{running.report()}; {changes.count} changes")


@pytest.fixture
def name(request: pytest.FixtureRequest, system: System) -> str:
    """A process to kill or freeze; skips the test where there is none of that name."""
    if pid_of(system, request.param) is None:
        pytest.skip("only among the real servers")
    return str(request.param)


async def test_the_consumer_killed_ten_times(system: System, load: Load) -> None:
    load.watch("consumer killed ten times")
    for _ in range(10):
        await kill_and_start(system, "chat-mq")
        await load.sent_after(time.monotonic())


async def test_one_of_two_consumers_killed(system: System, load: Load, tmp_path: Path) -> None:
    async with one_more(system, "chat-mq", tmp_path / "second.log") as second:
        await load.run_for(6)
        load.watch("one of two consumers killed")
        second.kill()
        # Until the partitions of the dead one have an owner again.
        await load.sent_after(time.monotonic() + 9)


@pytest.mark.parametrize("name", [*SERVERS, "ws-gateway"], indirect=True)
async def test_a_server_killed(system: System, name: str, load: Load) -> None:
    load.watch(f"{name} killed", gateway_dies=name == "ws-gateway")
    await kill_and_start(system, name)
    await load.sent_after(time.monotonic())


@pytest.mark.parametrize(
    "name", ["mysql", "kafka", "redis", "chat-mq", "ws-gateway"], indirect=True
)
async def test_a_server_frozen(system: System, name: str, load: Load) -> None:
    stands_still = name == "ws-gateway"
    load.watch(f"{name} frozen for {FROZEN_S:g} s", gateway_stands_still=stands_still)
    with frozen(system, name):
        await load.run_for(FROZEN_S)
    await load.sent_after(time.monotonic())


@pytest.mark.parametrize("name", ["mysql"], indirect=True)
async def test_a_commit_whose_answer_is_lost(
    name: str, load: Load, mysql: LossyMysql | None
) -> None:
    if mysql is None:
        pytest.skip(f"what {name} says is encrypted")
    load.watch("a commit's answer lost, five times")
    for count in range(mysql.lost + 1, mysql.lost + 6):
        mysql.lose_next()
        async with asyncio.timeout(60):
            while mysql.lost < count:
                await asyncio.sleep(0.01)
        await load.sent_after(time.monotonic())
