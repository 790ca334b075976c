"""Processes of a benchmark's own."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass

from im_bench.report import Failed
from im_local.paths import PYTHON


@dataclass(frozen=True)
class Started:
    pid: int
    # The words of the line that it prints when it is ready.
    said: list[str]


@contextlib.asynccontextmanager
async def started(module: str, *words: str) -> AsyncIterator[Started]:
    """Runs `python -m MODULE WORDS` during the block; it is to end with its input. Raises Failed when
    it ends before it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-P", "-m", module, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        line = await process.stdout.readline()
        if not line:
            raise Failed(f"{module} did not start")
        yield Started(process.pid, line.decode().split())
    finally:
        process.stdin.close()
        await process.wait()
