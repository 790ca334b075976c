"""`scripts/infra`: real MariaDB, Redis, etcd and Kafka as plain processes in the background."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from im_local import mysql, probes
from im_local.console import Console
from im_local.errors import LocalError
from im_local.files import FileLock, rotate, tail, write_atomically
from im_local.infra_server import Server
from im_local.infra_servers import PORTS, TLS, described, infra_servers
from im_local.install import install
from im_local.paths import DataDir
from im_local.ports import HOST, Wanted, ensure_free

# Three brokers that start side by side on a busy machine take more than a minute.
READY_LIMIT_S = 180.0
TERM_LIMIT_S = 10.0
# MySQL itself speaks no TLS here.
EXCLUDE_EACH_OTHER = [
    ("redis-cluster", "redis-sentinel"),
    ("mysql", "galera"),
    ("mysql", TLS),
]


@dataclass(frozen=True)
class Options:
    """How the servers are started; None takes what the last start on this folder had."""

    port_offset: int | None = None
    # Names of PORTS; all of them at first.
    only: list[str] | None = None
    # Of VARIANTS.
    variants: list[str] | None = None


def up(data: DataDir, options: Options, console: Console) -> None:
    """Start what does not run, wait until all of it answers, and write DIR/infra.yaml.

    Raises LocalError.
    """
    data.make()
    with FileLock(_lock(data), wait=True):
        before = _read(data)
        offset: int = _kept(data, before, "port_offset", options.port_offset, 0)
        only: list[str] = _kept(data, before, "only", options.only, list(PORTS))
        variants: list[str] = _kept(data, before, "with", options.variants, [])
        for one, other in EXCLUDE_EACH_OTHER:
            if {one, other} <= set(variants):
                raise LocalError(f"--with {one} and --with {other} exclude each other.")
        running = _running(data, before)
        servers = infra_servers(data, port_offset=offset, variants=variants)
        missing = [s for s in servers if _is_wanted(s.kind, only) and s.name not in running]
        if not missing:
            console.step(f"already running: {', '.join(running)}")
            return
        _install(sorted({server.kind for server in missing}), variants, data, console)
        pids = running | asyncio.run(_start_all(data, missing, console))
        content = {
            **{
                kind: text
                for kind, text in described(port_offset=offset, variants=variants).items()
                if _is_wanted(kind, only)
            },
            "pids": {server.name: pids[server.name] for server in servers if server.name in pids},
            "port_offset": offset,
            "only": only,
            "with": variants,
        }
        write_atomically(data.infra, yaml.safe_dump(content, sort_keys=False))
        console.step(f"all ready; addresses in {data.infra}")


def _is_wanted(kind: str, only: Sequence[str]) -> bool:
    """What is none of PORTS has been asked for by its own name."""
    return kind in only or kind not in PORTS


def _install(servers: list[str], variants: Sequence[str], data: DataDir, console: Console) -> None:
    log = data.log("infra-install")
    if "mysql" in servers and "mysql" in variants:
        mysql.fetch(log=log, console=console)
        servers = [name for name in servers if name != "mysql"]
    if "galera" in variants or TLS in variants:
        servers = ["galera" if name == "mysql" else name for name in servers]
    install(servers, log=log, console=console)


def down(data: DataDir, *, console: Console) -> None:
    """End what runs, a start that is under way as soon as it is over; its data stays."""
    if not data.path.exists():
        console.step(f"nothing runs in {data.path}")
        return
    with FileLock(_lock(data), wait=True):
        _down(data, console)


def _lock(data: DataDir) -> Path:
    return data.path / "infra.lock"


def _down(data: DataDir, console: Console) -> None:
    running = _running(data, _read(data))
    if not running:
        console.step(f"nothing runs in {data.path}")
        return
    for pid in running.values():
        _signal(pid, signal.SIGTERM)
    if not _all_gone(data, running, TERM_LIMIT_S):
        for pid in running.values():
            _signal(pid, signal.SIGKILL)
        _all_gone(data, running, 2.0)
    console.step(f"ended: {', '.join(running)}")


def read_port_offset(data: DataDir) -> int:
    """What is added to each port of the servers of a folder."""
    return int(_read(data)["port_offset"])


def _read(data: DataDir) -> dict[str, Any]:
    if not data.infra.exists():
        return {}
    known: dict[str, Any] = yaml.safe_load(data.infra.read_text(encoding="utf-8")) or {}
    return known


def _kept(data: DataDir, before: dict[str, Any], option: str, wanted: Any, default: Any) -> Any:
    known = before.get(option, default)
    if wanted is None or wanted == known:
        return known
    if _running(data, before):
        words = " ".join(known) if isinstance(known, list) else known
        raise LocalError(
            f"The servers of {data.path} run with --{option.replace('_', '-')} {words}; end them "
            f"with `scripts/infra down --data {data.path}` first."
        )
    return wanted


def _running(data: DataDir, before: dict[str, Any]) -> dict[str, int]:
    pids: dict[str, int] = before.get("pids", {})
    return {name: pid for name, pid in pids.items() if _is_ours(data, pid)}


def _is_ours(data: DataDir, pid: int) -> bool:
    # A pid may be another program's by now; ours works in its own data folder. The link of one
    # that has ended but was not collected yet cannot be read.
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(_real_folder(data))
    except OSError:
        return False


def _real_folder(data: DataDir) -> Path:
    return (data.path / "infra").resolve()


async def _start_all(data: DataDir, servers: list[Server], console: Console) -> dict[str, int]:
    wanted = [Wanted(port, server.name, "server") for server in servers for port in server.ports]
    await ensure_free(wanted, say=console.step)
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(_start(data, server, started, console))
    except BaseException as error:
        for process in started.values():
            process.kill()
            process.wait()
        raise _reason(error) from error
    return {name: process.pid for name, process in started.items()}


async def _start(
    data: DataDir, server: Server, started: dict[str, subprocess.Popen[bytes]], console: Console
) -> None:
    server.folder.mkdir(parents=True, exist_ok=True)
    argv = await asyncio.to_thread(server.prepare)
    process = started[server.name] = _spawn(argv, server.folder, _log(data, server))
    console.step(f"started {server.name} (pid {process.pid})")
    deadline = time.monotonic() + READY_LIMIT_S
    while not await probes.passes(server.probe):
        if process.poll() is not None:
            raise _failed(data, server, f"ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise _failed(data, server, f"was not ready within {READY_LIMIT_S:.0f} s")
        await asyncio.sleep(0.05)
    await asyncio.to_thread(server.finish)
    console.step(f"ready   {server.name} at {HOST}:{server.ports[0]}")


def _failed(data: DataDir, server: Server, what: str) -> LocalError:
    log = _log(data, server)
    return LocalError(f"{server.name} {what}; the end of {log}:\n{tail(log)}")


def _log(data: DataDir, server: Server) -> Path:
    return data.log(f"infra-{server.name}")


def _spawn(argv: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    rotate(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _reason(error: BaseException) -> BaseException:
    return _reason(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _signal(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, which)


def _all_gone(data: DataDir, pids: dict[str, int], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while any(_is_ours(data, pid) for pid in pids.values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
