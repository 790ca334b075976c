"""A backup of a running system, put back where everything was lost: what was `sent` before it is
there, and nothing that was given out after it is given to something else."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest
import yaml
from im_infra import INFRA
from im_people import PASSWORD, Device, User, make_group, register, single

from im_local import last_will
from im_local.infra_servers import PORTS
from im_local.paths import ROOT
from im_local.testing import System, free_port_offset

pytestmark = pytest.mark.skipif(INFRA is None, reason="is about MySQL or MariaDB")

ENV = {"IM_RATE_LIMITS": "off", "IM_BCRYPT_COST": "4"}


class Servers:
    """Real servers of this test's own, which can lose all that they have."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.offset = free_port_offset([*PORTS.values(), 12397, 19093])

    @property
    def infra(self) -> Path:
        return self.data / "infra.yaml"

    def run(self, action: str, *options: str) -> None:
        command = [str(ROOT / "scripts/infra"), action, "--data", str(self.data), *options]
        subprocess.run(command, capture_output=True, check=True)

    def up(self) -> None:
        self.run("up", "--port-offset", str(self.offset))

    def lose_everything(self) -> None:
        self.run("down")
        shutil.rmtree(self.data)

    def options(self) -> Path:
        """For MySQL's own programs."""
        server = yaml.safe_load(self.infra.read_text())["mysql"]
        password = (self.data / server["password_file"]).read_text().strip()
        file = self.data / "client.cnf"
        file.write_text(
            f"[client]\nprotocol=tcp\nhost={server['host']}\nport={server['port']}\n"
            f"user={server['user']}\npassword={password}\n"
        )
        return file

    def backup(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "deploy/backup"), *words, "--defaults-file", str(self.options())]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path / "servers")
    revoke = last_will.run_at_our_end(
        [str(ROOT / "scripts/infra"), "down", "--data", str(servers.data)]
    )
    servers.up()
    yield servers
    servers.run("down")
    revoke()


@dataclass
class Talk:
    """Somebody writes without end; what was answered, by seq."""

    device: Device
    target: dict[str, int]
    contents: dict[int, str] = field(default_factory=dict)

    async def go_on(self) -> None:
        for number in count():
            answer = await self.device.ask(**self.target, content=f"no. {number}")
            assert answer["type"] == "sent", answer
            self.contents[answer["seq"]] = f"no. {number}"


async def test_everything_is_lost_and_a_backup_that_was_made_under_traffic_is_put_back(
    servers: Servers, tmp_path: Path
) -> None:
    file = tmp_path / "im.sql.gz"
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            System.start(tmp_path / "before", infra=servers.infra, env=ENV)
        )
        http = await stack.enter_async_context(_client(system))
        ann, bob = await register(http), await register(http)
        group_id = await make_group(ann, bob)
        pair, group = single(ann, bob), f"g:{group_id}"
        content = b"kept" * 1000
        upload = await ann.request("POST", "/v1/files", files={"file": ("x", content)})
        phone = await stack.enter_async_context(await Device.connect(system.any_ws(), ann))
        talks = {
            pair: Talk(phone, {"to": bob.user_id}),
            group: Talk(phone, {"group_id": group_id}),
        }
        writing = [asyncio.create_task(talk.go_on()) for talk in talks.values()]
        await _until(lambda: all(len(talk.contents) >= 50 for talk in talks.values()))
        promised = {name: dict(talk.contents) for name, talk in talks.items()}
        saved = await asyncio.to_thread(servers.backup, "save", str(file))
        assert saved.returncode == 0, saved.stderr
        shutil.copytree(system.data / "files", tmp_path / "files")
        late = {name: len(talk.contents) + 50 for name, talk in talks.items()}
        await _until(lambda: all(len(talks[name].contents) >= late[name] for name in talks))
        refused = await asyncio.to_thread(servers.backup, "restore", str(file))
        assert (refused.returncode, "end the services first" in refused.stderr) == (1, True)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        new_user = await register(http)
        new_group = await make_group(new_user, ann)

    await asyncio.to_thread(servers.lose_everything)
    await asyncio.to_thread(servers.up)
    restored = await asyncio.to_thread(servers.backup, "restore", str(file))
    assert restored.returncode == 0, restored.stderr
    shutil.copytree(tmp_path / "files", tmp_path / "after/files")

    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            System.start(tmp_path / "after", infra=servers.infra, env=ENV)
        )
        http = await stack.enter_async_context(_client(system))
        # Of the time before the loss there is no session any more, and no key.
        old = await http.get("/v1/users/me", headers=new_user.bearer)
        assert old.status_code == 401
        bob, ann = await _log_in(http, bob), await _log_in(http, ann)
        for name, talk in talks.items():
            found = {m["seq"]: m["content"] for m in await bob.history(name, after_seq=0)}
            of_people = {seq: text for seq, text in found.items() if seq in talk.contents}
            # In order, without a gap, and a beginning of what was said; all of what was promised.
            assert sorted(found) == list(range(1, len(found) + 1))
            assert of_people == {seq: talk.contents[seq] for seq in of_people}
            assert promised[name].items() <= of_people.items()
            await _goes_on(system, name, ann, bob, talk, len(found))
        await _ids_are_new(http, new_user.user_id, new_group)
        assert (await ann.request("GET", upload.json()["url"])).content == content


async def _goes_on(
    system: System, name: str, ann: User, bob: User, talk: Talk, stored: int
) -> None:
    """The next message has a new place, and reaches a device that has seen what is lost."""
    unread = (await bob.get("/v1/unread"))["conversations"][name]
    listed = {one["conversation_id"]: one for one in (await bob.get("/v1/conversations"))["items"]}
    assert listed[name]["last_message"]["seq"] == stored
    assert listed[name]["unread"] == unread <= stored
    newest = max(talk.contents)
    async with (
        await Device.connect(system.any_ws(), ann) as a,
        await Device.connect(system.any_ws(), bob) as b,
    ):
        sent = await a.ask(**talk.target, content="after")
        assert sent["type"] == "sent"
        assert sent["seq"] > newest
        message = await b.wait_for(lambda frame: frame.get("seq") == sent["seq"])
        assert message["content"] == "after"
        await b.send(type="sync", cursors={name: newest}, limit=200)
        (answer,) = await b.wait_count("sync", 1)
        (delta,) = [d for d in answer["conversations"] if d["conversation_id"] == name]
        assert [message["seq"] for message in delta["messages"]] == [sent["seq"]]
        assert delta["unread"] == unread + 1
    read = await bob.request("POST", f"/v1/conversations/{name}/read", json={"seq": newest})
    assert read.status_code == 204
    # A cursor among the places that were left out.
    assert (await bob.get("/v1/unread"))["conversations"][name] == 1


async def _ids_are_new(http: httpx.AsyncClient, user_id: int, group_id: int) -> None:
    carl = await register(http)
    assert carl.user_id > user_id
    assert await make_group(carl) > group_id


def _client(system: System) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=system.ready.api, timeout=15, verify=False)


async def _log_in(http: httpx.AsyncClient, user: User) -> User:
    body = {"username": user.username, "password": PASSWORD}
    answer = await http.post("/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    return User.of(http, user.username, answer.json())


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.02)
