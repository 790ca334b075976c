"""Rolls from an older version to this one on real servers, while people talk without a pause.

    .venv/bin/python -P tests/prove_upgrade.py [COMMIT]

COMMIT is the older version; without it the last one whose tables are not those of this one. It must
be in the repository, which a shallow clone is without, and gets a .venv of its own below .beside:
so this is run by hand. What came out when it last ran is in docs/operations.md.

The older version runs; this one's migrations are run; the older version goes on, also with
processes that start anew; this version starts beside it, and each calls the other; the older one
ends. All the time what clients ask for is asked for, and at the end every message that was answered
`sent` is there once and in order.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx

# Python is told not to look beside the script (-P).
sys.path.insert(0, str(Path(__file__).parent))
from im_people import Device, Frame, User, make_group, register, single

from im_bench.beside import check_out
from im_local.console import Console
from im_local.infra_servers import PORTS
from im_local.launch import backend
from im_local.paths import ROOT, DataDir
from im_local.testing import Ready, System, free_port_offset

ENV = {"IM_RATE_LIMITS": "off", "IM_BCRYPT_COST": "4"}
console = Console()


def main() -> None:
    commit = sys.argv[1] if len(sys.argv) > 1 else before_the_newest_migration()
    console.step(f"the older version is {commit[:10]}")
    old = check_out(commit)
    with tempfile.TemporaryDirectory() as folder:
        servers = Path(folder) / "servers"
        offset = free_port_offset([*PORTS.values(), 12397, 19093])
        run(ROOT / "scripts/infra", "up", "--data", servers, "--port-offset", offset)
        try:
            asyncio.run(prove(old, Path(folder), servers / "infra.yaml"))
        finally:
            run(ROOT / "scripts/infra", "down", "--data", servers)
    console.step("proved")


def before_the_newest_migration() -> str:
    found = run(
        "git", "-C", ROOT, "log", "-1", "--format=%H", "--", "*/migrations/versions/*"
    ).strip()
    if not found:
        raise SystemExit(
            "this clone has no history: say a COMMIT, or fetch it (git fetch --unshallow)"
        )
    return run("git", "-C", ROOT, "rev-parse", f"{found}^").strip()


def run(*command: object) -> str:
    words = list(map(str, command))
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, **ENV}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


async def prove(old: Path, folder: Path, infra: Path) -> None:
    data, offset = folder / "old", free_port_offset()
    command = (old / "scripts/up", "--data", data, "--infra", infra, "--detach")
    await asyncio.to_thread(run, *command, "--port-offset", offset)
    console.step("the older version runs")
    try:
        ready = Ready(**json.loads((data / "ready.json").read_text()))
        async with talking(ready) as talk:
            await walk(ready)
            # Checks the settings, and runs the migrations of this version.
            await backend(DataDir(data), port_offset=offset, infra_file=infra, environ={}).prepare()
            console.step("the migrations of this version have run")
            await walk(ready)
            for name in ("chat", "chat-mq", "auth", "group", "friend", "user"):
                os.kill(ready.pids[name], signal.SIGKILL)
            await talk.goes_on()
            await walk(ready)
            console.step("the older version goes on, and starts anew, on the new tables")
            await beside(ready, talk, folder, infra, old)
    finally:
        with suppress(SystemExit):
            run(old / "scripts/down", "--data", data)


async def beside(ready: Ready, talk: Talk, folder: Path, infra: Path, old: Path) -> None:
    shutil.copytree(folder / "old/secrets", folder / "new/secrets")
    # One folder of files for both, as a volume is.
    (folder / "new/files").symlink_to(folder / "old/files")
    async with System.start(folder / "new", infra=infra, env=ENV) as system:
        await talk.goes_on()
        for at in (ready, system.ready):
            for _ in range(3):
                await walk(at, also=system.ready)
        console.step("both versions beside each other, and each calls the other")
        down = asyncio.create_task(
            asyncio.to_thread(run, old / "scripts/down", "--data", folder / "old")
        )
        await talk.moves_to(system.ready)
        await down
        await talk.goes_on()
        await walk(system.ready)
        await talk.is_all_there()
        console.step(f"the older version has ended; {len(talk.sent)} messages, once and in order")


@dataclass
class Talk:
    """One who writes to another without end, and sends again what was not answered `sent`."""

    a: User
    b: User
    at: Ready
    sent: dict[int, str] = field(default_factory=dict)

    async def go_on(self) -> None:
        for number in count():
            while True:
                # The gateway ends, or what it needs is away.
                with suppress(Exception):
                    async with await Device.connect(self.at.ws, self.a) as device:
                        answer = await device.ask(
                            to=self.b.user_id, content=str(number), client_msg_id=f"n{number}"
                        )
                        if answer["type"] == "sent":
                            self.sent[answer["seq"]] = str(number)
                            break
                await asyncio.sleep(0.05)

    async def goes_on(self) -> None:
        wanted = len(self.sent) + 10
        async with asyncio.timeout(90):
            while len(self.sent) < wanted:
                await asyncio.sleep(0.05)

    async def moves_to(self, ready: Ready) -> None:
        """As a client that is sent elsewhere."""
        self.at = ready
        await self.goes_on()

    async def is_all_there(self) -> None:
        async with httpx.AsyncClient(base_url=self.at.api, timeout=15) as http:
            self.b.http = http
            history = await self.b.history(single(self.a, self.b), after_seq=0)
        sent = dict(self.sent)
        found = {message["seq"]: message["content"] for message in history}
        assert sorted(found) == list(range(1, len(found) + 1))
        assert sent.items() <= found.items()
        assert len(set(found.values())) == len(found)


@asynccontextmanager
async def talking(ready: Ready) -> AsyncIterator[Talk]:
    async with httpx.AsyncClient(base_url=ready.api, timeout=15) as http:
        talk = Talk(await register(http), await register(http), ready)
        task = asyncio.create_task(talk.go_on())
        try:
            yield talk
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def walk(ready: Ready, *, also: Ready | None = None) -> None:
    """What clients do, once each; the second one's device is at the gateway of ``also``."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=ready.api, timeout=15, verify=False)
        )
        a, b = await patient(http), await patient(http)
        at = (also or ready).ws
        phone = await stack.enter_async_context(await Device.connect(ready.ws, a))
        device = await stack.enter_async_context(await Device.connect(at, b))
        await befriend(a, b)
        group = await make_group(a, b)
        for target in ({"to": b.user_id}, {"group_id": group}):
            sent = await phone.ask(**target, content="hello there")
            assert sent["type"] == "sent", sent
            await device.wait_for(lambda f, s=sent: f.get("message_id") == s["message_id"])  # type: ignore[misc]
            await reads(a, b, sent)
        upload = await ok(a, "POST", "/v1/files", files={"file": ("x", b"bytes")})
        assert (await a.request("GET", upload.json()["url"])).content == b"bytes"
        await ok(a, "PATCH", "/v1/users/me", json={"nickname": "Ann"})
        await ok(b, "POST", f"/v1/groups/{group}/leave")


async def befriend(a: User, b: User) -> None:
    asked = await ok(a, "POST", "/v1/friends/requests", json={"user_id": b.user_id})
    await ok(b, "POST", f"/v1/friends/requests/{asked.json()['request_id']}/accept")
    assert [one["user_id"] for one in (await a.get("/v1/friends"))["items"]] == [b.user_id]
    await ok(b, "GET", "/v1/blocks")


async def reads(a: User, b: User, sent: Frame) -> None:
    name, seq = sent["conversation_id"], sent["seq"]
    assert [m["seq"] for m in await b.history(name)][-1] == seq
    assert (await b.get("/v1/unread"))["conversations"][name] >= 1
    answer = await ok(b, "POST", "/v1/sync", json={"cursors": {name: seq - 1}, "limit": 10})
    assert [d["conversation_id"] for d in answer.json()["conversations"]].count(name) == 1
    await ok(b, "POST", f"/v1/conversations/{name}/read", json={"seq": seq})
    assert name not in (await b.get("/v1/unread"))["conversations"]
    await ok(a, "POST", f"/v1/messages/{sent['message_id']}/recall")


async def ok(user: User, method: str, path: str, **arguments: object) -> httpx.Response:
    response = await user.request(method, path, **arguments)
    assert response.is_success, (method, path, response.status_code, response.text)
    return response


async def patient(http: httpx.AsyncClient) -> User:
    """A new account, as soon as the processes that were started anew are there."""
    async with asyncio.timeout(60):
        while True:
            with suppress(AssertionError, httpx.TransportError):
                return await register(http)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
