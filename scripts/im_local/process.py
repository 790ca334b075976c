"""One process of the system, and a running child that ends with the supervisor."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from im_local.files import rotate
from im_local.paths import ROOT
from im_local.probes import Probe

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


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
    # Modules that it shares with others when all are started together.
    preload: tuple[str, ...] = ()


class Child:
    """A running child in a session of its own, so that Ctrl-C reaches only the supervisor.

    Its output is added to its log. The kernel kills it when the supervisor ends in whatever way.
    """

    def __init__(self, pid: int, poll: Callable[[], int | None]) -> None:
        """`poll` gives the exit code, or None while it runs; use `start` or `adopt`."""
        self.pid = pid
        self._poll = poll
        self._watch = asyncio.create_task(self._watch_exit(), name=f"watch {pid}")

    @classmethod
    def start(cls, argv: list[str], env: dict[str, str], log: Path) -> "Child":
        """Raises OSError when it cannot be started."""
        rotate(log)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        return cls(popen.pid, popen.poll)

    @classmethod
    def adopt(cls, pid: int) -> "Child":
        """One that somebody else started and left to us."""
        return cls(pid, _Adopted(pid).poll)

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
            await _readable(os.pidfd_open(self.pid))
        else:
            while self.alive:
                await asyncio.sleep(0.05)
        while (code := self._poll()) is None:
            await asyncio.sleep(0.005)
        return code


class _Adopted:
    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                # Not ours yet: its starter is about to end.
                return None
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def die_with_parent() -> Callable[[], None] | None:
    """What a child does before it becomes its program: ask to be killed when the parent dies."""
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        # The parent may have died before the request.
        if os.getppid() != parent:
            os._exit(1)

    return ask


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
