"""Starts several services from one process that has imported what they share, then ends.

Each service is forked after the imports: it has them at once, and the pages that they fill are in
memory once, not eight times. The supervisor adopts the services when this process ends; whatever is
started again later is a plain `python -m`.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import time
from dataclasses import asdict, dataclass

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Start:
    """A service to start: `argv` is the module and its arguments."""

    name: str
    argv: list[str]
    env: dict[str, str]
    log: str
    # Modules to import before it is forked; those of earlier ones are there already.
    preload: list[str]


@dataclass(frozen=True)
class Order:
    """What the supervisor writes to standard input; the answer is the pid of each, by name."""

    supervisor: int
    starts: list[Start]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Order":
        values = json.loads(text)
        return cls(values["supervisor"], [Start(**start) for start in values["starts"]])


def main() -> int:
    order = Order.from_json(sys.stdin.read())
    gc.disable()
    pids: dict[str, int] = {}
    for start in order.starts:
        for module in start.preload:
            importlib.import_module(module)
        # What is frozen is not walked by the collector, which would make the pages the child's own.
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            _become(start, order.supervisor)
        pids[start.name] = pid
    sys.stdout.write(json.dumps(pids))
    sys.stdout.flush()
    # Nothing to tidy up: what is open here is also the children's.
    os._exit(0)


def _become(start: Start, supervisor: int) -> None:
    os.setsid()
    _redirect(start.log)
    _await_adoption(supervisor)
    # Before the environment changes: the title is written over where it lies.
    _set_title([sys.executable, "-m", *start.argv])
    os.environ.clear()
    os.environ.update(start.env)
    sys.argv = start.argv
    gc.enable()
    code = 1
    try:
        runpy.run_module(start.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, descriptor)


def _await_adoption(supervisor: int) -> None:
    # The signal at a parent's death is lost when the parent changes, so it is asked for only when
    # the supervisor is the parent. One that died meanwhile leaves us to somebody else.
    starter = os.getppid()
    while os.getppid() == starter != supervisor:
        time.sleep(0.002)
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != supervisor:
        os._exit(1)


def _set_title(argv: list[str]) -> None:
    from setproctitle import setproctitle

    setproctitle(" ".join(argv))


if __name__ == "__main__":
    sys.exit(main())
