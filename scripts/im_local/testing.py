"""The whole backend for a test: on free ports, in a folder of its own, with processes to kill.

All calls block; from asynchronous code use `asyncio.to_thread`, or `async with System.start…`.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from im_local import ports, probes
from im_local.errors import PortTaken
from im_local.paths import ROOT
from im_local.probes import Probe
from im_local.system import base_ports

# With these offsets no port lies where the system takes ports for outgoing connections
# (32768 to 60999), so none can be gone when a process is started again.
OFFSETS = range(11_000, 13_600, 20)


@dataclass(frozen=True)
class Ready:
    """What ready.json says."""

    api: str
    ws: str
    grpc: dict[str, str]
    redis: str
    etcd: str
    dev: dict[str, str]
    data: str
    pids: dict[str, int]
    kafka: str | None = None
    mysql: str | None = None


class System:
    """A backend that `scripts/up --detach` started; ended by `stop` or at the end of a `with`."""

    def __init__(self, data: Path, port_offset: int) -> None:
        self.data = data
        self.port_offset = port_offset
        self._killed: dict[str, int] = {}

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        infra: Path | None = None,
        port_offset: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "System":
        """Start it, on a free offset if none is given, and return when it is ready.

        Raises RuntimeError with what `scripts/up` said when it does not start.
        """
        while True:
            offset = free_port_offset() if port_offset is None else port_offset
            more = ["--infra", str(infra)] if infra else []
            arguments = ["--detach", "--port-offset", str(offset), *more]
            done = _script("up", data, *arguments, env=env)
            if done.returncode == 0:
                return cls(data, offset)
            # Another test may have taken a port since we looked.
            if done.returncode != PortTaken.exit_code or port_offset is not None:
                raise RuntimeError(f"scripts/up failed ({done.returncode}):\n{done.stdout}")

    @property
    def ready(self) -> Ready:
        """The addresses and pids as they are now."""
        return Ready(**json.loads((self.data / "ready.json").read_text(encoding="utf-8")))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process by its name in `pids`; gives the pid it had."""
        pid = self._killed[name] = self.ready.pids[name]
        os.kill(pid, number)
        return pid

    def wait_ready(self, name: str, *, limit_s: float = 120.0) -> int:
        """Wait until a process that was killed runs again and is ready; gives the new pid.

        Raises TimeoutError.
        """
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            pid = self.ready.pids[name]
            if pid != self._killed.get(name) and _in_thread(probes.passes(self._probe(name))):
                return pid
            time.sleep(0.05)
        raise TimeoutError(f"{name} is not ready again after {limit_s:g} s")

    def stop(self) -> None:
        """End all of it; the data stays. Does nothing when it has ended already."""
        done = _script("down", self.data)
        if done.returncode != 0:
            raise RuntimeError(f"scripts/down failed:\n{done.stdout}")

    def log(self, name: str) -> str:
        """The log of a process."""
        return (self.data / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.to_thread(self.stop)

    def _probe(self, name: str) -> Probe:
        ready = self.ready
        if name in ready.dev:
            return probes.http(_port(ready.dev[name]), "/readyz")
        if name == "redis":
            return probes.redis(_port(ready.redis.removesuffix("/0")))
        if name == "etcd":
            return probes.etcd(_port(ready.etcd))
        raise ValueError(f"no way to see whether {name} is ready")


def free_port_offset(wanted: Iterable[int] = ()) -> int:
    """An offset at which all the ports are free now; those of the backend unless others are given.

    Raises RuntimeError when there is none.
    """
    bases = list(wanted) or base_ports()
    for offset in random.sample(OFFSETS, len(OFFSETS)):
        if all(ports.is_free(base + offset) for base in bases):
            return offset
    raise RuntimeError("no port offset is free")


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _script(
    name: str, data: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / name), "--data", str(data), *arguments],
        # IM_TEST_… is for the tests, not for services.
        env={
            **{
                name: value for name, value in os.environ.items() if not name.startswith("IM_TEST_")
            },
            **(env or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _in_thread(work: Coroutine[Any, Any, bool]) -> bool:
    # The caller's thread may be running a loop already.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
