"""Services as children of the standard library's fork server, which has imported what they share.

So each begins with its imports done, and the pages that they fill are in memory once: those of a
service that is started again too.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

from im_common.runtime import grpc_core
from im_local.files import rotate
from im_local.lifetime import die_with
from im_local.paths import ROOT

_CONTEXT = multiprocessing.get_context("forkserver")


async def warm_up(env: dict[str, str]) -> None:
    """Start the fork server with the environment, and return when its imports are done."""
    # It takes over this process's, now and whenever it has to be started again.
    os.environ.update(env)
    grpc_core.tell()
    _CONTEXT.set_forkserver_preload(["im_local.shared_imports"])
    forkserver.ensure_running()
    await asyncio.to_thread(_fork_once)


def start(argv: list[str], env: dict[str, str], log: Path) -> tuple[int, Callable[[], int | None]]:
    """Start `python -m` of the words; gives the pid, and what tells the exit code once there is one.

    Raises OSError when it cannot be started.
    """
    rotate(log)
    process = _CONTEXT.Process(target=_become, args=(argv, env, str(log)))
    try:
        process.start()
    except EOFError as error:
        raise OSError("the fork server has ended") from error
    assert process.pid is not None
    return process.pid, lambda: process.exitcode


def _fork_once() -> None:
    process = _CONTEXT.Process(target=os.getpid)
    process.start()
    process.join()


def _become(argv: list[str], env: dict[str, str], log: str) -> None:
    os.setsid()
    _end_with_the_supervisor()
    _redirect(log)
    # Before the environment changes: the title is written over where it lies.
    _set_title([sys.executable, "-m", *argv])
    os.environ.clear()
    os.environ.update(env)
    os.chdir(ROOT)
    sys.argv = argv
    gc.enable()
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def _end_with_the_supervisor() -> None:
    # The supervisor's end ends the fork server, whose end the kernel tells by SIGKILL. But the fork
    # server waits as long as a child holds the pipe that it was given too: so all such are closed.
    die_with(os.getppid())
    supervisor = multiprocessing.parent_process()
    if supervisor is None or not supervisor.is_alive():
        os._exit(1)
    for descriptor in map(int, os.listdir("/dev/fd")):
        # The one that listed them is closed already.
        with contextlib.suppress(OSError):
            if descriptor > 2:
                os.close(descriptor)


def _redirect(log: str) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, descriptor)


def _set_title(argv: list[str]) -> None:
    from setproctitle import setproctitle

    setproctitle(" ".join(argv))
