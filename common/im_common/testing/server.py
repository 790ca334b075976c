"""A real server as a process of a test, to be killed, frozen and started again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

_READY_S = 20.0


class Server(ABC):
    """One server on ports of its own, with its data in ``folder``. All methods block."""

    # What it is called, and the folder below its own in which it keeps its data.
    name: ClassVar[str]
    data: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        """Started for as long as the block lasts."""
        server = cls(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()

    @abstractmethod
    def command(self) -> list[str]:
        """How it is started."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it can work."""

    def start(self) -> None:
        """Starts it, again on the same ports and data, and waits until it answers.

        Raises:
            RuntimeError: it ended at once, or did not answer in 20 seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                text = (self.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not start: {text[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it without warning, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_data(self) -> None:
        """Removes what it stored; only while it is not running."""
        shutil.rmtree(self.folder / self.data, ignore_errors=True)

    def freeze(self) -> None:
        """It keeps its connections and says nothing more, until ``thaw``."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        # Its threads stop one by one.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        self._process.send_signal(number)


def program_of(package: str, pattern: str) -> str:
    """The path of a program that a wheel brings. Raises RuntimeError when it is not installed."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(folder).glob(pattern):
            return str(found)
    raise RuntimeError(f"the package {package} is not installed")


def flags(values: Mapping[str, str]) -> list[str]:
    """``--name value`` for each."""
    return [word for name, value in values.items() for word in (f"--{name}", value)]
