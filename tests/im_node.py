"""Node for the tests of what runs in browsers: the one that .venv has."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from im_local.paths import ROOT
from im_local.testing import System

NODE = Path(sys.executable).with_name("node")
WEB = ROOT / "api-gateway" / "web"


async def node(*arguments: str | Path, system: System | None = None, folder: Path = WEB) -> str:
    """Runs it, and gives what it said; fails with that when it ends with an error.

    Where the running system is, it finds in IM_READY and IM_API.
    """
    environ = {**os.environ}
    if system is not None:
        environ["IM_READY"] = str(system.data / "ready.json")
        environ["IM_API"] = system.ready.api
    process = await asyncio.create_subprocess_exec(
        NODE,
        *arguments,
        cwd=folder,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    said = output.decode("utf-8", "replace")
    assert process.returncode == 0, said
    return said
