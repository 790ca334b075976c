"""The real servers under the system: started again when dead, and one that loses answers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import yaml
from redis.asyncio import Redis
from redis.exceptions import RedisError

from im_common.runtime.redis_client import answers, open_redis
from im_common.runtime.sections import RedisConf
from im_common.testing.infra_redis import infra_redis
from im_common.testing.waiting import eventually
from im_local.galera import Galera
from im_local.infra import read_port_offset
from im_local.paths import DataDir
from im_local.testing import System

ROOT = Path(__file__).parents[1]
INFRA = os.environ.get("IM_TEST_INFRA")
SERVERS = ("mysql", "kafka", "redis", "etcd")
# Those that a test has stopped for a while.
_frozen: dict[str, int] = {}


def start_what_is_dead() -> None:
    """What an operator does with a server that died; `scripts/up` looks after its own only."""
    if INFRA:
        command = [str(ROOT / "scripts/infra"), "up", "--data", str(Path(INFRA).parent)]
        subprocess.run(command, check=True, capture_output=True)


def real_pids() -> dict[str, int]:
    """Of the real servers, as they are now; `kafka-1` and so on where there are several."""
    if INFRA is None:
        return {}
    pids: dict[str, int] = yaml.safe_load(Path(INFRA).read_text()).get("pids", {})
    return pids


def is_real(name: str) -> bool:
    return INFRA is not None and name.partition("-")[0] in SERVERS


def galera() -> Galera | None:
    """The nodes of MariaDB Galera, where the database is that."""
    if "mysql-1" not in real_pids():
        return None
    data = DataDir.at(Path(INFRA or "").resolve().parent)
    return Galera(data, read_port_offset(data))


def pid_of(system: System, name: str) -> int | None:
    """The process as it is now; None when the system has none of that name."""
    if is_real(name):
        pids = real_pids()
        several = infra_redis() if name == "redis" else None
        if several:
            return pids[several.a_master()]
        if name == "mysql" and (cluster := galera()):
            return pids[f"mysql-{cluster.in_use()}"]
        # Of a cluster, one of its members.
        return pids.get(name) or pids[f"{name}-1"]
    return system.ready.pids.get(name)


def kill(system: System, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    if not is_real(name):
        system.kill(name, number)
        return
    # One that stands still is no master any more when it is to go on.
    pid = _frozen.pop(name, None) if number == signal.SIGCONT else pid_of(system, name)
    if number == signal.SIGSTOP:
        _frozen[name] = pid or 0
    os.kill(pid or 0, number)


@contextmanager
def frozen(system: System, name: str) -> Iterator[None]:
    """A block in which a process stands still."""
    kill(system, name, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(system, name, signal.SIGCONT)


@asynccontextmanager
async def open_redis_of(system: System) -> AsyncIterator[Redis]:
    """A client of the Redis that a system runs on, connected however long that takes: services wait for
    a second and try again."""
    several = infra_redis() if "," in system.ready.redis else None
    one = system.ready.redis.removeprefix("redis://").removesuffix("/0")
    redis = open_redis(several.conf if several else RedisConf(host=one))

    async def is_connected() -> bool:
        with suppress(RedisError):
            await answers(redis)
            return True
        return False

    try:
        await eventually(is_connected, within_s=60)
        yield redis
    finally:
        await redis.aclose()


async def kill_and_start(system: System, name: str) -> None:
    """SIGKILL, and up again: by scripts/up if it is the embedded one, else as an operator would."""
    kill(system, name)
    if is_real(name):
        await asyncio.to_thread(start_what_is_dead)
    else:
        await asyncio.to_thread(system.wait_ready, name)


class LossyMysql:
    """Passes everything between the services and MySQL on, but for the answer to the next COMMIT
    when ``lose_next`` was called: MySQL has committed, and the service sees a dead connection.

    Runs on a loop of its own in a thread, for as long as the block lasts.
    """

    def __init__(self, infra: Path, folder: Path) -> None:
        described: dict[str, Any] = yaml.safe_load(infra.read_text())
        self._target = (described["mysql"]["host"], described["mysql"]["port"])
        self._described = described
        self._infra = infra
        self._folder = folder
        self._armed = threading.Event()
        self.lost = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def lose_next(self) -> None:
        self._armed.set()

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        port = server.sockets[0].getsockname()[1]
        mysql = self._described["mysql"]
        self.infra = self._folder / "infra.yaml"
        described = {k: v for k, v in self._described.items() if k != "pids"}
        # It reads along.
        plain = {name: value for name, value in mysql.items() if not name.startswith("tls")}
        changed = described | {"mysql": plain | {"port": port}}
        self.infra.write_text(yaml.safe_dump(_anchored(changed, self._infra.parent)))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._pass_on, "127.0.0.1", 0)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        committing = asyncio.Event()

        async def upwards() -> None:
            while data := await reader.read(65_536):
                # COM_QUERY with a text that ends with COMMIT.
                if self._armed.is_set() and data.endswith(b"COMMIT"):
                    self._armed.clear()
                    committing.set()
                up_writer.write(data)
                await up_writer.drain()

        async def downwards() -> None:
            lost = b""
            while data := await up_reader.read(65_536):
                if committing.is_set():
                    lost += data
                    committed = _outcome(lost)
                    if committed:
                        self.lost += 1
                        writer.transport.abort()
                        return
                    if committed is None:
                        continue
                    # It failed before its COMMIT: another one is to be lost.
                    data, lost = lost, b""
                    committing.clear()
                    self._armed.set()
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.ensure_future(upwards()), asyncio.ensure_future(downwards())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        up_writer.close()


def _anchored(value: Any, folder: Path, key: str = "") -> Any:
    """Files are beside the file that names them; here from anywhere."""
    if isinstance(value, dict):
        return {name: _anchored(inner, folder, name) for name, inner in value.items()}
    return str((folder / value).resolve()) if key.endswith("_file") else value


def _outcome(answers: bytes) -> bool | None:
    """True when the last of them is an OK that none follows (SERVER_MORE_RESULTS_EXISTS is not set),
    False when it is an error, None while there is more to come."""
    packet = b""
    while len(answers) >= 4:
        end = 4 + int.from_bytes(answers[:3], "little")
        packet, answers = answers[4:end], answers[end:]
    if answers or len(packet) <= 4:
        return None
    if packet[0] == 0xFF:
        return False
    # Of a COMMIT, affected rows and insert id are 0, a byte each.
    return (packet[:3] == bytes(3) and not packet[3] & 8) or None
