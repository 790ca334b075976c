"""What is to end when this process ends, in whatever way: a test run that is killed leaves no server.

A process of its own (this file as a program) learns of it as the end of its standard input, from any
thread and on any system, which a signal at the parent's death does not give. It is started with the
first of the wills.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

# What has not ended by itself by then is killed.
PATIENCE_S = 12.0

_Revoke = Callable[[], None]
_keys = itertools.count()
_executor: tuple[int, subprocess.Popen[str]] | None = None


def ends_with_us(pid: int) -> _Revoke:
    """The process is to end with this one. The answer, called, says that it has ended already."""
    return _add({"pid": pid})


def run_at_our_end(argv: Sequence[str]) -> _Revoke:
    """The command is to be run at the end of this process, unless the answer is called before."""
    return _add({"argv": list(argv)})


def _add(will: dict[str, object]) -> _Revoke:
    key = next(_keys)
    _tell({"key": key} | will)
    return lambda: _tell({"key": key})


def _tell(message: dict[str, object]) -> None:
    global _executor
    # A forked child has wills of its own.
    if _executor is None or _executor[0] != os.getpid():
        command = [sys.executable, "-I", "-S", __file__]
        # A session of its own: Ctrl-C is not for it. Nor is our output, whose end others wait for.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        _executor = (os.getpid(), process)
    stdin = _executor[1].stdin
    assert stdin is not None
    stdin.write(json.dumps(message) + "\n")
    stdin.flush()


def main() -> int:
    """Read wills until the end, then carry out those that were not revoked."""
    wills: dict[int, dict[str, Any]] = {}
    for line in sys.stdin:
        will = json.loads(line)
        key = will.pop("key")
        if will:
            wills[key] = will
        else:
            wills.pop(key, None)
    for argv in (will["argv"] for will in wills.values() if "argv" in will):
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    _end([will["pid"] for will in wills.values() if "pid" in will])
    return 0


def _end(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    left = [pid for pid in pids if _send(pid, signal.SIGTERM)]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [pid for pid in left if _send(pid, 0)]
    for pid in left:
        _send(pid, signal.SIGKILL)


def _send(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
