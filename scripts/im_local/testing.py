"""The whole backend for a test: on free ports, in a folder of its own, with processes to kill.

All calls block; from asynchronous code use `asyncio.to_thread`, or `async with System.start…`.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from im_local import last_will, ports, probes
from im_local.errors import PortTaken
from im_local.launch import backend
from im_local.paths import ROOT, DataDir
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
    ws_gateways: list[str]
    kafka: str | None = None
    mysql: str | None = None
    supervisor: int = 0


class System:
    """A backend that `scripts/up` runs; ended by `stop`, at the end of a `with`, and with us."""

    def __init__(
        self,
        data: DataDir,
        port_offset: int,
        infra: Path | None,
        environ: dict[str, str],
        scale: Mapping[str, int],
    ) -> None:
        self.data = data.path
        self.port_offset = port_offset
        self._infra = infra
        self._environ = environ
        self._process = _run_up(data, port_offset, infra, environ, scale)
        self._has_ended = last_will.ends_with_us(self._process.pid)
        self._killed: dict[str, int] = {}

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        infra: Path | None = None,
        port_offset: int | None = None,
        env: Mapping[str, str] | None = None,
        scale: Mapping[str, int] | None = None,
    ) -> "System":
        """Start it, on a free offset if none is given, with so many instances of some services, and
        return when it is ready.

        Raises RuntimeError with what `scripts/up` said when it does not start.
        """
        folder = DataDir.at(data)
        folder.make()
        # IM_TEST_… is for the tests, not for services.
        ours = {name: text for name, text in os.environ.items() if not name.startswith("IM_TEST_")}
        while True:
            offset = free_port_offset() if port_offset is None else port_offset
            system = cls(folder, offset, infra, {**ours, **(env or {})}, scale or {})
            code = system._until_ready()
            if code is None:
                return system
            # Another test may have taken a port since we looked.
            if code != PortTaken.exit_code or port_offset is not None:
                raise RuntimeError(f"scripts/up failed ({code}):\n{system.log('up')}")

    async def another(self, name: str) -> tuple[list[str], dict[str, str]]:
        """How one more instance of a service is started: its command line and its environment."""
        launch = backend(
            DataDir(self.data),
            port_offset=self.port_offset,
            infra_file=self._infra,
            environ=self._environ,
        )
        env = (await launch.prepare())[name]
        (argv,) = [process.argv for process in launch.plan.services() if process.name == name]
        return argv, env

    @property
    def ready(self) -> Ready:
        """The addresses and pids as they are now."""
        return Ready(**json.loads((self.data / "ready.json").read_text(encoding="utf-8")))

    def any_ws(self) -> str:
        """Where a client may connect."""
        return random.choice(self.ready.ws_gateways)  # noqa: S311

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
            if pid != self._killed.get(name) and probes.passes_now(self._probe(name)):
                return pid
            time.sleep(0.05)
        raise TimeoutError(f"{name} is not ready again after {limit_s:g} s")

    def stop(self) -> None:
        """End all of it; the data stays. Does nothing when it has ended already."""
        self._process.terminate()
        self._process.wait()
        self._has_ended()

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

    def _until_ready(self) -> int | None:
        """None when it is ready, or the exit code."""
        while (code := self._process.poll()) is None:
            # The file may still be that of an earlier start.
            with contextlib.suppress(OSError):
                if self.ready.supervisor == self._process.pid:
                    return None
            time.sleep(0.05)
        self._has_ended()
        return code

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


def _run_up(
    data: DataDir,
    port_offset: int,
    infra: Path | None,
    environ: dict[str, str],
    scale: Mapping[str, int],
) -> subprocess.Popen[bytes]:
    arguments = ["--data", str(data.path), "--port-offset", str(port_offset)]
    # What tests kill, they kill again and again.
    arguments += ["--longest-pause", "1"]
    if infra:
        arguments += ["--infra", str(infra)]
    for name, number in scale.items():
        arguments += ["--scale", f"{name}={number}"]
    with data.log("up").open("wb") as log:
        return subprocess.Popen(
            [str(ROOT / "scripts" / "up"), *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
