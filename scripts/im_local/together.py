"""The supervisor's side of `starter`: services that begin with their imports done and shared."""

import asyncio
import ctypes
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from im_local.errors import LocalError
from im_local.files import rotate
from im_local.paths import PYTHON, ROOT
from im_local.process import Child, Process, die_with_parent
from im_local.starter import Order, Start

_PR_SET_CHILD_SUBREAPER = 36


def can_start_together() -> bool:
    """Only Linux lets a supervisor adopt the children of its child."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


async def start_together(
    processes: Sequence[Process],
    envs: Mapping[str, dict[str, str]],
    log_of: Callable[[str], Path],
) -> dict[str, Child]:
    """Starts those of the processes that share imports; gives them by name.

    Raises LocalError with the starter's output when it fails; whatever it had started ends with it.
    """
    sharing = sorted((p for p in processes if p.preload), key=lambda p: len(p.preload))
    if not sharing or not can_start_together():
        return {}
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for process in sharing:
        rotate(log_of(process.name))
    starts = [
        # After `python -m`.
        Start(p.name, p.argv[2:], envs[p.name], str(log_of(p.name)), list(p.preload))
        for p in sharing
    ]
    pids = await _run(Order(os.getpid(), starts), envs[sharing[0].name])
    return {name: Child.adopt(pid) for name, pid in pids.items()}


async def _run(order: Order, env: dict[str, str]) -> dict[str, int]:
    plain = {name: value for name, value in env.items() if not name.startswith("IM_")}
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-P",
        "-m",
        "im_local.starter",
        cwd=ROOT,
        # gRPC's core reads this when it is loaded.
        env=plain | {"GRPC_VERBOSITY": "ERROR"},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent(),
    )
    output, errors = await process.communicate(order.to_json().encode())
    if process.returncode != 0:
        raise LocalError(f"the services could not be started:\n{errors.decode()[-4000:]}")
    pids: dict[str, int] = json.loads(output)
    return pids
