"""A real server as a process of a test, to be killed, frozen and started again.

How it is started and asked is what `scripts/up` does too. That lies on the side of im_local, which must
start with nothing but the standard library; of im_common only these tests' helpers may import it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

from im_local.last_will import ends_with_us
from im_local.probes import Probe, passes_now

_READY_S = 20.0


class Server(ABC):
    """One server on ports of its own, with its data in ``folder``; ends with the test run, however that
    ends. All methods block."""

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
    def probe(self) -> Probe:
        """What tells whether it can work."""

    def start(self) -> None:
        """Starts it, again on the same ports and data, and waits until it answers.

        Raises:
            RuntimeError: it ended at once, or did not answer in 20 seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        self._has_ended = ends_with_us(self._process.pid)
        deadline = time.monotonic() + _READY_S
        while not passes_now(self.probe()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                text = (self.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not start: {text[-2000:]}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process as it is now. Raises RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        """Ends it without warning, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._has_ended()
            self._process = None

    def lose_data(self) -> None:
        """Removes what it stored; only while it is not running."""
        shutil.rmtree(self.folder / self.data, ignore_errors=True)

    def freeze(self) -> None:
        """It keeps its connections and says nothing more, until ``thaw``."""
        os.kill(self.pid, signal.SIGSTOP)
        # Its threads stop one by one.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
