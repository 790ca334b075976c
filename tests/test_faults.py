"""Faults under a steady load, all ending in the same count: every message that was answered `sent`
is stored once and received, every stored one was sent, `seq` has no gap, order holds."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from im_infra import SERVERS, LossyMysql, kill, kill_and_start, pid_of
from im_load import Load

from im_local.testing import System

FROZEN_S = 15.0
PAIRS, RATE = 6, 300


@pytest.fixture
async def load(system: System, http: httpx.AsyncClient) -> AsyncIterator[Load]:
    """Runs already; ends with the count."""
    running = Load(system, http, pairs=PAIRS, rate=RATE)
    await running.start()
    await running.sent_after(0.0)
    yield running
    await running.finish()


def _report(load: Load, what: str, since: float) -> None:
    pause_s, gaps = load.longest_pause_s(since), sum(p.phone.gaps + p.copy.gaps for p in load.pairs)
    print(f"\n{what}: at most {pause_s:.1f} s without a `sent`; {gaps} gaps for `sync`")


def _needs(system: System, name: str) -> None:
    if pid_of(system, name) is None:
        pytest.skip("only among the real servers")


async def test_the_consumer_killed_ten_times(system: System, load: Load) -> None:
    since = time.monotonic()
    for _ in range(10):
        await kill_and_start(system, "chat-mq")
        await load.sent_after(time.monotonic())
    _report(load, "consumer killed ten times", since)


async def test_one_of_two_consumers_killed(system: System, load: Load, tmp_path: Path) -> None:
    # One that was started again is a plain process, whose environment can be read.
    await kill_and_start(system, "chat-mq")
    process = Path(f"/proc/{system.ready.pids['chat-mq']}")
    environment = dict(
        item.split("=", 1) for item in (process / "environ").read_text().split("\0") if item
    )
    command = (process / "cmdline").read_text().split("\0")[:-1]
    with (tmp_path / "second.log").open("wb") as log:
        second = await asyncio.create_subprocess_exec(
            *command, env=environment | {"IM_DEV_SERVER__PORT": "0"}, stdout=log, stderr=log
        )
    try:
        await load.run_for(6)
        since = time.monotonic()
        second.kill()
        await load.sent_after(since + 9)
        _report(load, "one of two consumers killed", since)
    finally:
        if second.returncode is None:
            second.kill()
        await second.wait()


@pytest.mark.parametrize("name", [*SERVERS, "ws-gateway"])
async def test_a_server_killed(system: System, load: Load, name: str) -> None:
    _needs(system, name)
    since = time.monotonic()
    await kill_and_start(system, name)
    await load.sent_after(time.monotonic())
    _report(load, f"{name} killed", since)


@pytest.mark.parametrize("name", ["mysql", "kafka", "redis", "chat-mq", "ws-gateway"])
async def test_a_server_frozen(system: System, load: Load, name: str) -> None:
    _needs(system, name)
    since = time.monotonic()
    kill(system, name, signal.SIGSTOP)
    try:
        await load.run_for(FROZEN_S)
    finally:
        kill(system, name, signal.SIGCONT)
    await load.sent_after(time.monotonic())
    _report(load, f"{name} frozen for {FROZEN_S:g} s", since)


async def test_a_commit_whose_answer_is_lost(load: Load, mysql: LossyMysql | None) -> None:
    if mysql is None:
        pytest.skip("needs a real MySQL or MariaDB")
    for count in range(mysql.lost + 1, mysql.lost + 6):
        mysql.lose_next()
        since = time.monotonic()
        async with asyncio.timeout(20):
            while mysql.lost < count:
                await asyncio.sleep(0.01)
        await load.sent_after(time.monotonic())
    _report(load, "a commit's answer lost", since)
