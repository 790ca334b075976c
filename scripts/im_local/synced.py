"""Syncs the append-only file of the embedded Redis: a power cut loses a second of it at most."""

import asyncio
import contextlib
import os
from pathlib import Path

EVERY_S = 1.0


async def keep_synced(folder: Path) -> None:
    """For ever. By itself (`appendfsync everysec`) the server would put off its writes while a sync is
    slow, for up to two seconds, and answer all the same: a kill of the process then loses them. So it
    is told to sync nothing, writes at once, and is synced from here."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(_sync, folder)


def _sync(folder: Path) -> None:
    for file in (folder / "appendonlydir").glob("*.aof"):
        # Rewritten and gone meanwhile.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
