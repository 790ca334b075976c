"""`Http.Workers`: several processes on one address, as a client and an operator see them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import yaml

from api_gateway.config import Settings
from im.user.v1 import user_pb2
from im_common.testing.ports import free_port
from im_common.testing.waiting import eventually
from im_local.ports import is_free

# A fixture of conftest.py, which tests do not import.
Gateway = Any

ME = user_pb2.GetProfileResponse(profile=user_pb2.Profile(user=user_pb2.User(user_id=1001)))


class Process:
    """The gateway as operators start it, with two workers."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.api, self._operator = free_port(), free_port()
        self._log = folder / "log"
        path = folder / "api.yaml"
        path.write_text(yaml.safe_dump(self._yaml(settings, folder)))
        secret = settings.internal_secret.get_secret_value()
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "api_gateway", "serve", "-f", str(path)],
                env=os.environ
                | {"IM_INTERNAL_SECRET": secret, "IM_RATE_LIMITS": "off", "TMPDIR": str(folder)},
                stderr=log,
            )

    def _yaml(self, settings: Settings, folder: Path) -> dict[str, object]:
        services = {"Endpoints": settings.user_rpc.endpoints}
        names = ("AuthRpc", "UserRpc", "FriendRpc", "GroupRpc", "ChatRpc")
        return dict.fromkeys(names, services) | {
            "Name": "api-gateway",
            "Http": {"ListenOn": f"127.0.0.1:{self.api}", "Workers": 2},
            "DevServer": {"Port": self._operator},
            "Redis": {"Host": settings.redis.host},
            "Files": {"Folder": str(folder / "files")},
        }

    @property
    def workers(self) -> list[int]:
        """The pids of those that there are."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    async def is_ready(self) -> bool:
        try:
            return (await self.ask("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def ask(self, path: str) -> httpx.Response:
        """The operator's port."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._operator}") as client:
            return await client.get(path)

    async def has_answered(self, requests: int) -> bool:
        """Whether /metrics says so."""
        lines = re.findall(r"im_http_seconds_count{.*} ([\d.]+)", (await self.ask("/metrics")).text)
        return sum(map(float, lines)) == requests

    async def get(self, token: str) -> int:
        """The status of a request on a connection of its own."""
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.api}") as client:
            return (await client.get("/v1/users/me", headers=headers)).status_code

    def said(self) -> str:
        return self._log.read_text()


@pytest_asyncio.fixture(loop_scope="session")
async def process(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Process]:
    async with running(gateway, tmp_path) as process:
        yield process


@asynccontextmanager
async def running(gateway: Gateway, folder: Path) -> AsyncIterator[Process]:
    """One that is ready; killed at the end."""
    process = Process(gateway.settings, folder)
    try:
        await eventually(process.is_ready, within_s=60)
        yield process
    finally:
        process.popen.kill()
        process.popen.wait()
    # Whoever listened is gone with the first of them.
    await eventually(lambda: is_free(process.api))


def counting(folder: Path) -> set[Path]:
    """The folders in which gateways count."""
    return set(folder.glob("im-api-gateway-*"))


async def test_the_first_process_has_the_page_of_the_operators(process: Process) -> None:
    answer = await process.ask("/admin/login")
    assert (answer.status_code, "Log in" in answer.text) == (200, True)


async def test_workers_share_an_address_and_are_counted_together(
    process: Process, gateway: Gateway, token_of: Callable[[int], str]
) -> None:
    gateway.services.answers["GetProfile"] = ME
    statuses = await asyncio.gather(*(process.get(token_of(1001)) for _ in range(40)))
    assert statuses == [200] * 40
    assert len(process.workers) == 2
    await eventually(lambda: process.has_answered(40))


async def test_a_worker_that_is_killed_is_started_again_while_the_other_answers(
    process: Process, gateway: Gateway, token_of: Callable[[int], str]
) -> None:
    gateway.services.answers["GetProfile"] = ME
    assert await process.get(token_of(1001)) == 200
    before = process.workers
    os.kill(before[0], signal.SIGKILL)
    await eventually(lambda: before[0] not in process.workers)
    assert [await process.get(token_of(1001)) for _ in range(10)] == [200] * 10
    await eventually(lambda: len(process.workers) == 2)
    await eventually(process.is_ready)
    assert before[1] in process.workers
    # Of the one that was killed, too.
    await eventually(lambda: process.has_answered(11))
    assert "a worker has ended" in process.said()


async def test_a_worker_that_stands_still_makes_the_gateway_not_ready(process: Process) -> None:
    stopped = process.workers[0]
    os.kill(stopped, signal.SIGSTOP)
    assert not await process.is_ready()
    os.kill(stopped, signal.SIGCONT)
    await eventually(process.is_ready)


async def test_what_a_killed_one_counted_goes_with_the_next_start(
    process: Process, gateway: Gateway, tmp_path: Path
) -> None:
    """And not what one counts that lives."""
    left = counting(tmp_path)
    process.popen.kill()
    process.popen.wait()
    async with running(gateway, tmp_path):
        lives = counting(tmp_path)
        assert (len(lives), lives & left) == (1, set())
        async with running(gateway, tmp_path):
            assert len(counting(tmp_path) - lives) == 1


async def test_all_end_in_order_after_what_is_in_hand(
    process: Process, gateway: Gateway, token_of: Callable[[int], str]
) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(_request: object) -> user_pb2.GetProfileResponse:
        asked.set()
        await may_answer.wait()
        return ME

    gateway.services.answers["GetProfile"] = answer
    request = asyncio.create_task(process.get(token_of(1001)))
    await asked.wait()
    process.popen.send_signal(signal.SIGTERM)
    await eventually(lambda: is_free(process.api))
    may_answer.set()
    assert await request == 200
    assert await asyncio.to_thread(process.popen.wait, 15) == 0
