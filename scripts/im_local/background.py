"""`scripts/up --detach` and `scripts/down`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from im_local.console import Console
from im_local.errors import LocalError
from im_local.files import FileLock, Taken, is_held, rotate, tail
from im_local.paths import ROOT, DataDir

DOWN_LIMIT_S = 12.0

_READY = "=ready"


def detach(data: DataDir, command: list[str]) -> int:
    """Run a command like `up` in the background; return its exit code, or 0 once it is ready.

    Its output goes to DIR/logs/up.log, and until it is ready also to this terminal.
    """
    data.make()
    log = data.log("up")
    rotate(log)
    reading, writing = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--tell", str(writing)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[writing],
        )
    os.close(writing)
    said: list[str] = []
    try:
        return 0 if _follow(reading, said) else _reason(process, log, said)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def down(data: DataDir, console: Console) -> int:
    """End what `up` started on the folder; 0 when it is gone, 1 when it cannot be ended.

    Raises LocalError when it is another user's.
    """
    try:
        return _down(data, console)
    except PermissionError as error:
        raise LocalError(f"{data.path}, or what runs on it, is another user's.") from error


def _down(data: DataDir, console: Console) -> int:
    pid = _supervisor(data)
    if pid is None:
        _tidy(data)
        console.step(f"nothing runs on {data.path}")
        return 0
    os.kill(pid, signal.SIGTERM)
    if not _released(data, DOWN_LIMIT_S):
        console.step(f"pid {pid} does not end; killing it and all it started")
        os.kill(pid, signal.SIGKILL)
        if not _released(data, 2.0):
            console.step(f"pid {pid} is still there")
            return 1
    console.step(f"ended what ran on {data.path}")
    return 0


def _follow(reading: int, said: list[str]) -> bool:
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            if line.rstrip("\n") == _READY:
                return True
            print(line, end="", flush=True)
            said.append(line)
    return False


def _reason(process: subprocess.Popen[bytes], log: Path, said: list[str]) -> int:
    code = process.wait()
    if not any(line.startswith("error: ") for line in said):
        # It ended without a word of its own: killed, or by a fault, whose traceback is in its log.
        print(f"error: the start failed; the end of {log}:\n{tail(log)}", file=sys.stderr)
    return code if code > 0 else 1


def _supervisor(data: DataDir) -> int | None:
    """The pid of the one that holds the folder, but only when it is really ours."""
    if not is_held(data.lock):
        return None
    try:
        pid = int(data.supervisor_pid.read_text())
        command = Path(f"/proc/{pid}/cmdline")
        ours = not Path("/proc/self").exists() or b"im_local" in command.read_bytes()
    except (OSError, ValueError):
        return None
    return pid if ours else None


def _tidy(data: DataDir) -> None:
    """A supervisor that was killed has left word that all is ready."""
    if data.lock.exists():
        with contextlib.suppress(Taken), FileLock(data.lock):
            data.ready.unlink(missing_ok=True)
            data.supervisor_pid.unlink(missing_ok=True)


def _released(data: DataDir, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while is_held(data.lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
