"""One more instance of a service of the running system."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from im_local.last_will import ends_with_us
from im_local.paths import ROOT
from im_local.testing import System


@asynccontextmanager
async def one_more(
    system: System, name: str, log: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Not yet ready; ended with the block, in order unless the block has killed it. Its own ports are
    in ``environ``; the one for operators is any that is free unless that says which."""
    command, environment = await system.another(name)
    environment |= {"IM_DEV_SERVER__PORT": "0", **(environ or {})}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    has_ended = ends_with_us(process.pid)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        has_ended()
