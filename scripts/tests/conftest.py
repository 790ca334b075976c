"""A system of stand-ins, run by the real supervisor in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from im_common.testing.ports import free_port
from im_local import last_will

FAKE = Path(__file__).parent / "im_local_fake.py"
SCRIPTS = Path(__file__).parents[1]

# name, stage, behaviour
Row = tuple[str, str, str]
USUAL: list[Row] = [
    ("store", "SERVER", "good"),
    ("logic", "SERVICE", "good"),
    ("edge", "GATEWAY", "good"),
]


class FakeUp:
    """One `up` with stand-ins on a data folder."""

    def __init__(self, data: Path, rows: list[Row]) -> None:
        self.data = data
        self.ports = {name: free_port() for name, _stage, _behaviour in rows}
        self._plan = [(n, stage, self.ports[n], behaviour) for n, stage, behaviour in rows]
        self._process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it without waiting for anything."""
        plan = ["--plan", json.dumps(self._plan)]
        self._process = subprocess.Popen(
            [sys.executable, str(FAKE), str(self.data), *plan, *arguments],
            # Nor has scripts/up what else the caller has for Python.
            env={
                **{
                    name: text for name, text in os.environ.items() if not name.startswith("PYTHON")
                },
                "PYTHONPATH": f"{SCRIPTS}{os.pathsep}{FAKE.parent}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        last_will.ends_with_us(self._process.pid)
        down = [sys.executable, "-P", "-m", "im_local", "down", "--data", str(self.data)]
        last_will.run_at_our_end(down)
        return self._process

    def start_ready(self) -> subprocess.Popen[str]:
        """Start it and wait for ready.json."""
        process = self.start()
        self.wait(lambda: (self.data / "ready.json").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        return process

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.data / "ready.json").read_text())["pids"]
        return found

    def supervisor(self) -> int:
        pid: int = json.loads((self.data / "ready.json").read_text())["supervisor"]
        return pid

    def events(self) -> list[str]:
        return (self.data / "events").read_text().splitlines()

    def answers(self, name: str) -> str | None:
        """What the stand-in says, or None when it does not answer."""
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{self.ports[name]}/readyz"
            with urllib.request.urlopen(address, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        return None

    def wait(self, what: Callable[[], Any], limit_s: float = 15.0) -> None:
        """Wait until `what` is true."""
        deadline = time.monotonic() + limit_s
        while not what():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    def clean_up(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.data / "supervisor.pid").read_text()), signal.SIGKILL)
        if self._process:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def fake_up(tmp_path: Path) -> Iterator[Callable[..., FakeUp]]:
    """Make a system of stand-ins; the usual three unless rows are given."""
    made: list[FakeUp] = []

    def make(*rows: Row) -> FakeUp:
        made.append(FakeUp(tmp_path / "data", list(rows) or USUAL))
        return made[-1]

    yield make
    for up in made:
        up.clean_up()


def is_gone(pid: int) -> bool:
    """Whether the process has ended, collected by its parent or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.fixture(name="is_gone")
def _is_gone() -> Callable[[int], bool]:
    return is_gone
