"""`scripts/up`: the backend in the foreground, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from im_local import forked
from im_local.console import Console
from im_local.errors import LocalError
from im_local.files import FileLock, Taken, secret_once, write_atomically
from im_local.infra_file import read_infra
from im_local.keeper import PAUSES_S
from im_local.paths import DataDir
from im_local.ports import ensure_free
from im_local.process import Process
from im_local.supervisor import Supervisor
from im_local.synced import keep_synced

Envs = dict[str, dict[str, str]]


class Plan(Protocol):
    """What is to be run; the backend's is `system.System`."""

    def servers(self) -> list[Process]: ...

    def services(self) -> list[Process]: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Launch:
    """One start: `prepare` gives each process its environment, while the servers start."""

    data: DataDir
    plan: Plan
    prepare: Callable[[], Awaitable[Envs]]
    server_env: dict[str, str]
    # The file whose `pids` go into ready.json, when other servers are used.
    infra_file: Path | None = None
    # Before a process that ended is started again: after the first time, the second, …
    pauses_s: tuple[float, ...] = PAUSES_S


def run(data: DataDir, launch: Callable[[], Launch], console: Console) -> int:
    """Run until the end is asked for; gives the exit code. `launch` is called with the lock held.

    Raises LocalError when the system could not be started, after everything was ended again.
    """
    data.make()
    lock = FileLock(data.lock)
    try:
        lock.take()
    except Taken:
        raise LocalError(_already_running(data)) from None
    try:
        data.ready.unlink(missing_ok=True)
        write_atomically(data.supervisor_pid, f"{os.getpid()}\n")
        secret_once(data.secrets / "internal_secret")
        asyncio.run(_Run(launch(), console).main())
        return 0
    finally:
        data.ready.unlink(missing_ok=True)
        data.supervisor_pid.unlink(missing_ok=True)
        lock.release()


def _already_running(data: DataDir) -> str:
    pid = data.supervisor_pid.read_text().strip() if data.supervisor_pid.exists() else "unknown"
    return (
        f"scripts/up already runs on {data.path} (pid {pid}). End it with\n"
        f"  scripts/down --data {data.path}\nor choose another folder with --data DIR and other "
        "ports with --port-offset N."
    )


class _Run:
    def __init__(self, launch: Launch, console: Console) -> None:
        self._launch = launch
        self._console = console
        self._ending = asyncio.Event()
        self._is_ready = False
        self._infra_pids: dict[str, int] = {}
        self._supervisor = Supervisor(
            log_of=launch.data.log,
            say=console.step,
            changed=self._publish,
            pauses_s=launch.pauses_s,
        )

    async def main(self) -> None:
        self._handle_signals()
        try:
            await self._until_ending(self._bring_up())
            if self._is_ready:
                await self._until_ending(self._watch())
        finally:
            self._console.step("ending")
            await self._supervisor.stop()
            self._console.step("ended")

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)

    def _interrupt(self) -> None:
        if self._ending.is_set():
            self._supervisor.kill()
        self._ending.set()

    async def _until_ending(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, but drop it when the end is asked for."""
        working = asyncio.create_task(work)
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not working.done():
            working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    async def _bring_up(self) -> None:
        plan = self._launch.plan
        servers, services = plan.servers(), plan.services()
        wanted = [port for process in servers + services for port in process.wanted_ports()]
        await ensure_free(wanted, say=self._console.step)
        self._console.step(f"starting; data in {self._launch.data.path}")
        # A failure of the one cancels the other.
        async with _first_error(), asyncio.TaskGroup() as group:
            preparing = group.create_task(self._prepare())
            env = self._launch.server_env
            group.create_task(self._supervisor.start(servers, {s.name: env for s in servers}))
            if any(service.is_forked for service in services):
                group.create_task(forked.warm_up(env))
        await self._supervisor.start(services, preparing.result())
        self._is_ready = True
        self._read_infra_pids()
        self._publish()
        self._announce()

    async def _prepare(self) -> Envs:
        envs = await self._launch.prepare()
        self._console.step("settings checked, databases up to date")
        return envs

    async def _watch(self) -> None:
        async with _first_error(), asyncio.TaskGroup() as group:
            group.create_task(self._supervisor.broken())
            if self._launch.infra_file:
                group.create_task(self._follow_infra_pids())
            else:
                group.create_task(keep_synced(self._launch.data.path / "redis"))

    async def _follow_infra_pids(self) -> None:
        # A test kills such a server and has `scripts/infra` start it again, under a new pid.
        while True:
            await asyncio.sleep(0.5)
            if self._read_infra_pids():
                self._publish()

    def _read_infra_pids(self) -> bool:
        if not self._launch.infra_file:
            return False
        before = self._infra_pids
        with contextlib.suppress(LocalError):
            self._infra_pids = read_infra(self._launch.infra_file).pids
        return self._infra_pids != before

    def _publish(self) -> None:
        if not self._is_ready:
            return
        # Whoever is in `pids` may be killed, and is started again: we are not.
        pids = {**self._supervisor.pids, **self._infra_pids}
        document = {**self._launch.plan.describe(), "supervisor": os.getpid(), "pids": pids}
        write_atomically(self._launch.data.ready, json.dumps(document, indent=2) + "\n")

    def _announce(self) -> None:
        self._console.step("ready")
        self._console.block(addresses(self._launch.plan.describe(), self._launch.data))
        self._console.hang_up("=ready")
        self._console.block("Ctrl-C ends everything.")


@contextlib.asynccontextmanager
async def _first_error() -> Any:
    """Let a group of errors out as the first of them."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def addresses(described: dict[str, Any], data: DataDir) -> str:
    """The block that tells a person where everything is."""
    dev: dict[str, str] = described.get("dev", {})
    rows = [
        ("web client", described["api"] + "/" if "api" in described else None),
        ("HTTP API", described.get("api")),
        ("API pages", described["api"] + "/docs" if "api" in described else None),
        ("operators", f"http://{dev['api-gateway']}/admin" if "api-gateway" in dev else None),
        *(("WebSocket", address) for address in described.get("ws_gateways", ())),
        *((f"gRPC {name}", address) for name, address in described.get("grpc", {}).items()),
        *((name, described.get(name)) for name in ("redis", "etcd", "kafka", "mysql")),
        ("data", data.path),
        ("logs", data.logs),
    ]
    return "\n".join(["", *(f"  {name:<12} {value}" for name, value in rows if value), ""])
