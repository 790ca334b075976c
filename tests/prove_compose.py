"""Brings deploy/docker-compose.yaml up for real, by podman.

As root on a Debian machine that can pull no image: `.venv/bin/python -P tests/prove_compose.py`. It is
not in CI, as each run takes a quarter of an hour for the images of our services, and 10 GB, and the
first one ten minutes more: it installs podman, builds docker compose, and makes the images that the
files name, which stay below .tools/podman (tests/stand_ins/make says how).
What came out when it last ran is in docs/deploy.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx

# Python is told not to look beside the script (-P).
sys.path.insert(0, str(Path(__file__).parent))
from im_people import PASSWORD, Device, User, register, single
from im_podman import Machine
from im_watched import wait_for_figures

from im_local import install, mysql
from im_local.console import Console
from im_local.paths import ROOT, TOOLS
from im_local.processes import SERVICES, Service

HTTP, WS = 18080, 18081
console = Console()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder), console)
        prepare(machine)
        with machine.running():
            # Of a run that was broken off.
            machine.down("--volumes")
            machine.is_alone()
            try:
                asyncio.run(prove(machine))
            except BaseException:
                console.block(machine.compose("ps", "--all"))
                console.block(machine.compose("logs", "--tail=20"))
                raise
            finally:
                machine.down("--volumes", "--timeout", "20")
    console.step("proved")


async def prove(machine: Machine) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{HTTP}", timeout=30) as http:
        machine.compose("up", "--build", "--detach")
        # Of its profile alone, as images of Grafana and Jaeger cannot be had.
        machine.compose("up", "--detach", "prometheus")
        await is_open(http)
        ann, bob = await register(http), await register(http)
        file, content = await first_talk(ann, bob)
        for service in SERVICES:
            look_inside(machine, service)
        await talk_over_three_gateways(machine, ann, bob)
        await is_watched(http, ann)
        await look_after_it(machine, http, ann)
        backup = save(machine)
        end_in_order(machine)
        machine.down()
        machine.compose("up", "--detach")
        await is_open(http)
        bob = await log_in(http, bob)
        await all_is_there(ann, bob, file, content, place=103)
        console.step("after down and up: 102 messages, the file, tokens, passwords; and one more")
        put_back(machine, backup)
        await is_open(http)
        assert (await ann.request("GET", "/v1/users/me")).status_code == 401
        ann, bob = await log_in(http, ann), await log_in(http, bob)
        await all_is_there(ann, bob, file, content, place=10_103)
        console.step("of the backup: 102 messages, the file, passwords, no tokens; and one more")


async def is_open(http: httpx.AsyncClient) -> None:
    """Compose comes back when HAProxy is started: it has to look at the gateways first."""
    async with asyncio.timeout(60):
        while True:
            with suppress(httpx.TransportError):
                if (await http.get("/")).status_code == 200:
                    return
            await asyncio.sleep(0.5)


def prepare(machine: Machine) -> None:
    """Everything that must be there before; what a run before this has made stays."""
    TOOLS.mkdir(exist_ok=True)
    machine.install()
    log = machine.work / "install.log"
    install.install(["kafka"], log=log, console=console)
    mysql.fetch(log=log, console=console)
    console.step("making the images that cannot be pulled")
    console.block(machine.run(ROOT / "tests/stand_ins/make", TOOLS, ROOT / ".venv").rstrip())
    for name in ("make-env", ".env.example"):
        shutil.copy(ROOT / "deploy" / name, machine.work)
    machine.run(machine.work / "make-env")
    settings = (machine.work / ".env").read_text()
    for before, after in (
        ("IM_HTTP_PORT=8080", f"IM_HTTP_PORT={HTTP}"),
        ("IM_WS_PORT=8081", f"IM_WS_PORT={WS}"),
        ("IM_WEB_GATEWAYS=", f"IM_WEB_GATEWAYS=ws://localhost:{WS}/ws/connect"),
    ):
        assert before in settings
        settings = settings.replace(before, after)
    (machine.work / ".env").write_text(settings)


async def connect(user: User) -> Device:
    return await Device.connect(f"ws://127.0.0.1:{WS}/ws/connect", user)


async def first_talk(ann: User, bob: User) -> tuple[dict[str, Any], bytes]:
    """A message by HTTP, one by WebSocket, a file, and the page."""
    async with await connect(ann) as a, await connect(bob) as b:
        posted = await ann.request("POST", "/v1/messages", json={"to": bob.user_id, "content": "1"})
        assert posted.status_code == 201, posted.text
        assert (await a.ask(to=bob.user_id, content="2"))["seq"] == 2
        assert [frame["content"] for frame in await b.wait_received(2)] == ["1", "2"]
    content = os.urandom(300_000)
    upload = await ann.request("POST", "/v1/files", files={"file": ("x", content)})
    assert upload.status_code == 201, upload.text
    page = await ann.http.get("/")
    assert page.status_code == 200
    assert f"ws://localhost:{WS}" in page.headers["content-security-policy"]
    assert (await ann.http.get("/app.js")).status_code == 200
    console.step("two users; messages by HTTP and WebSocket, a file, the web client's page")
    return upload.json(), content


def look_inside(machine: Machine, service: Service) -> None:
    """It is not root, cannot write, has nothing that builds packages, and is process 1 itself."""
    (found, *_) = machine.containers(name_of(service))

    def inside(script: str) -> str:
        return machine.run("podman", "exec", found["Id"], "sh", "-c", f"{script} || true").strip()

    assert inside("id -u") == "10001"
    assert inside("touch /x 2>&1").endswith("Read-only file system")
    assert inside("command -v pip gcc cc make; python -c 'import pip' 2>&1 | tail -1").endswith(
        "No module named 'pip'"
    )
    assert inside("tr '\\0' ' ' </proc/1/cmdline").startswith(f"python -m {service.module} serve")
    assert found["HostConfig"]["Memory"] > 0
    usage = machine.run("podman", "stats", "--no-stream", "--format", "{{.MemUsage}}", found["Id"])
    console.step(
        f"{service.name}: user 10001, read-only, no pip, no compiler, process 1; {usage.strip()}"
    )


async def talk_over_three_gateways(machine: Machine, ann: User, bob: User) -> None:
    """Devices land on all of them, and each gets what either of two consumers stores."""
    machine.compose("up", "--detach", "--scale", "ws-gateway=3", "--scale", "chat-mq=2")
    (edge,) = machine.containers("edge")
    gateways = machine.containers("ws-gateway")
    assert (len(gateways), len(machine.containers("chat-mq"))) == (3, 2)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient())
        up = f"http://{address(edge)}:8404/metrics"
        await until(lambda: sum_of(http, up, "haproxy_backend_active_servers", "ws-gateway"), 3)
        devices = [await stack.enter_async_context(await connect(bob)) for _ in range(6)]
        for gateway in gateways:
            metrics = f"http://{address(gateway)}:9107/metrics"
            await until(lambda at=metrics: sum_of(http, at, "im_connections"), 2)  # type: ignore[misc]
        a = await stack.enter_async_context(await connect(ann))
        for number in range(3, 103):
            assert await place_of(a, bob, str(number)) == number
        for device in devices:
            got = await device.wait_received(100)
            assert [frame["seq"] for frame in got[-100:]] == list(range(3, 103))
            await device.wait_for(lambda frame: frame.get("seq") == 102)
    console.step("three gateways, two devices on each, two consumers: 100 messages to each device")


async def place_of(device: Device, to: User, content: str) -> int:
    """Of a message that is sent again when there were too many a second."""
    while True:
        answer = await device.ask(to=to.user_id, content=content)
        if answer["type"] == "sent":
            return int(answer["seq"])
        assert answer["code"] == "RATE_LIMITED", answer
        await asyncio.sleep(answer["retry_after_ms"] / 1000)


async def is_watched(http: httpx.AsyncClient, ann: User) -> None:
    """All processes by Prometheus, which answers what Grafana's dashboard asks."""
    # Of the gateway that runs since the last `up`.
    assert (await ann.request("GET", "/v1/users/me")).status_code == 200
    count = await wait_for_figures(http, console)
    console.step(f"Prometheus has all processes, no rule fails, {count} queries of the dashboard")


async def look_after_it(machine: Machine, http: httpx.AsyncClient, ann: User) -> None:
    """im-admin in a container: it finds somebody, and rotates the key of tokens, which all take."""

    def admin(*words: str) -> Any:
        said = machine.compose("exec", "-T", "chat-service", "im-admin", "--json", *words)
        return json.loads(said)

    found = admin("users", "find", ann.username)
    assert [str(user["user_id"]) for user in found] == [str(ann.user_id)], found
    before = await key_ids(http)
    rotate = ("-e", "MODULE=im_admin", "auth-keys", "--json", "keys", "rotate")
    machine.compose("run", "--rm", "-T", *rotate)
    async with asyncio.timeout(60):
        while len(await key_ids(http)) != len(before) + 1:
            await asyncio.sleep(0.5)
    assert (await ann.request("GET", "/v1/users/me")).status_code == 200
    newer = await register(http)
    assert (await newer.request("GET", "/v1/users/me")).status_code == 200
    console.step(f"im-admin: found {ann.username}; a new key, and tokens of both are good")


async def key_ids(http: httpx.AsyncClient) -> set[str]:
    keys = (await http.get("/.well-known/jwks.json")).json()["keys"]
    return {key["kid"] for key in keys}


def end_in_order(machine: Machine) -> None:
    """Each ends itself at SIGTERM, long before it would be killed."""
    names = [name_of(service) for service in SERVICES]
    for name in names:
        started = time.monotonic()
        machine.compose("stop", name)
        assert time.monotonic() - started < 14, name
        codes = [found["State"]["ExitCode"] for found in machine.containers(name)]
        assert set(codes) == {0}, (name, codes)


def save(machine: Machine) -> Path:
    """A backup, while all of it runs. What that is worth tests/test_backup.py shows."""
    machine.env["IM_COMPOSE"] = " ".join(map(str, machine.composing))
    file = machine.work / "im.sql.gz"
    console.step(machine.run(ROOT / "deploy/backup", "save", file).strip())
    return file


def put_back(machine: Machine, backup: Path) -> None:
    """By the commands of docs/backups.md."""
    machine.down()
    machine.run("podman", "volume", "rm", "im_redis", "im_kafka", "im_etcd", "im_keys")
    machine.compose("up", "--detach", "--wait", "mysql")
    console.step(machine.run(ROOT / "deploy/backup", "restore", backup).strip())
    machine.compose("up", "--detach")


async def log_in(http: httpx.AsyncClient, user: User) -> User:
    body = {"username": user.username, "password": PASSWORD}
    logged_in = await http.post("/v1/auth/login", json=body)
    assert logged_in.status_code == 200, logged_in.text
    return User.of(http, user.username, logged_in.json())


async def all_is_there(
    ann: User, bob: User, file: dict[str, Any], content: bytes, *, place: int
) -> None:
    """The history, the file; and the next message has that place."""
    history = await ann.history(single(ann, bob), after_seq=0)
    assert [message["seq"] for message in history] == list(range(1, 103))
    assert (await ann.request("GET", file["url"])).content == content
    async with await connect(ann) as a, await connect(bob) as b:
        assert (await a.ask(to=bob.user_id, content="again"))["seq"] == place
        await b.wait_for(lambda frame: frame.get("seq") == place)


def name_of(service: Service) -> str:
    """What the compose file calls it."""
    return service.name if "-" in service.name else service.folder


def address(container: dict[str, Any]) -> str:
    (network,) = container["NetworkSettings"]["Networks"].values()
    found: str = network["IPAddress"]
    return found


async def sum_of(http: httpx.AsyncClient, url: str, metric: str, label: str = "") -> float:
    """Of a metric's values with such a label."""
    lines = (await http.get(url)).text.splitlines()
    values = [line.split() for line in lines if line.startswith((metric + "{", metric + " "))]
    return sum(float(value) for name, value in values if label in name)


async def until(look: Callable[[], Awaitable[float]], wanted: float) -> None:
    async with asyncio.timeout(60):
        while (found := await look()) != wanted:
            console.step(f"{found:.0f}, waiting for {wanted:.0f}")
            await asyncio.sleep(1)


if __name__ == "__main__":
    main()
