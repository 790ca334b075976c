"""One process of the system, and a running child that ends with the supervisor."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from pathlib import Path

from im_local import forked
from im_local.files import rotate
from im_local.lifetime import die_with
from im_local.paths import ROOT
from im_local.ports import Wanted
from im_local.probes import Probe


class Stage(IntEnum):
    """The order of the start; the end goes the other way."""

    SERVER = 0
    SERVICE = 1
    GATEWAY = 2


@dataclass(frozen=True)
class Process:
    """What to run, and how to know that it is ready. `ports` maps a purpose to a port."""

    name: str
    argv: list[str]
    stage: Stage
    ports: dict[str, int]
    probe: Probe
    # IM_ variables for a process that knows them.
    offers: dict[str, str] = field(default_factory=dict)
    # Whether `argv` is a Python module that shares its imports with others.
    is_forked: bool = False

    def wanted_ports(self) -> list[Wanted]:
        return [Wanted(port, self.name, purpose) for purpose, port in self.ports.items()]


class Child:
    """A running child in a session of its own, so that Ctrl-C reaches only the supervisor.

    Its output is added to its log. The kernel kills it when the supervisor ends in whatever way.
    """

    def __init__(self, pid: int, poll: Callable[[], int | None]) -> None:
        """`poll` gives the exit code, or None while it runs; use `start`."""
        self.pid = pid
        self._poll = poll
        self._watch = asyncio.create_task(self._watch_exit(), name=f"watch {pid}")

    @classmethod
    def start(cls, process: Process, env: dict[str, str], log: Path) -> "Child":
        """Raises OSError when it cannot be started."""
        if process.is_forked:
            # After `python -m`.
            return cls(*forked.start(process.argv[2:], env, log))
        rotate(log)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                process.argv,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid()),
            )
        return cls(popen.pid, popen.poll)

    @property
    def alive(self) -> bool:
        return self._poll() is None

    async def exited(self) -> int:
        """Wait for the end; minus the signal's number when a signal ended it."""
        return await asyncio.shield(self._watch)

    def send(self, number: signal.Signals) -> None:
        """SIGKILL goes to its children too."""
        if not self.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    async def _watch_exit(self) -> int:
        if hasattr(os, "pidfd_open"):
            # It may have gone already.
            with contextlib.suppress(ProcessLookupError):
                await _readable(os.pidfd_open(self.pid))
        else:
            while self.alive:
                await asyncio.sleep(0.05)
        while (code := self._poll()) is None:
            await asyncio.sleep(0.005)
        return code


def describe_exit(code: int) -> str:
    """`killed by SIGKILL`, or `exit code 1`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
