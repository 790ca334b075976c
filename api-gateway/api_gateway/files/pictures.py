"""Width, height and a small picture of a picture, made in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import IO, NamedTuple

import msgspec
import structlog
from prometheus_client import Counter

from api_gateway.config import PicturesConf
from api_gateway.files.kinds import PICTURES

log = structlog.get_logger(__name__)

PICTURES_SEEN = Counter("im_pictures_total", "Uploaded pictures", ["outcome"])
# Besides the pixels: Python, Pillow and their libraries, of which most is never touched.
_OWN_BYTES = 384 * 1024 * 1024
_BYTES_A_PIXEL = 8


class Picture(NamedTuple):
    """In pixels as it is shown; ``thumbnail`` is a WebP."""

    width: int
    height: int
    thumbnail: bytes


class Pictures:
    def __init__(self, conf: PicturesConf) -> None:
        self._conf = conf
        self._processes = asyncio.Semaphore(conf.processes)

    async def look_at(self, content: IO[bytes], content_type: str) -> Picture | None:
        """None for what is no picture, or none that can be shown within the limits: it is a file like
        any other then. ``content`` must be a file of the system."""
        kind = PICTURES.get(content_type)
        if kind is None:
            return None
        async with self._processes:
            content.seek(0)
            found = _read(await self._run(content, kind))
        outcome = "failed" if found is None else "ok"
        PICTURES_SEEN.labels(outcome).inc()
        return found

    async def _run(self, content: IO[bytes], kind: str) -> bytes:
        """What the process says; nothing when it failed, in whichever way."""
        conf, timeout_s = self._conf, self._conf.timeout / 1000
        limits = [kind, conf.max_pixels, conf.thumbnail_side]
        limits += [_OWN_BYTES + _BYTES_A_PIXEL * conf.max_pixels, max(1, round(timeout_s))]
        command = [sys.executable, "-I", "-m", "api_gateway.files.picture_process"]
        # Not by the event loop: uvloop forks, gRPC's handlers run in the child, and of fifty one or two
        # end there by a signal. Python's own way (vfork) calls no handlers.
        try:
            ended = await asyncio.to_thread(
                subprocess.run,
                [*command, *map(str, limits)],
                stdin=content,
                capture_output=True,
                timeout=timeout_s,
                # None of ours: they hold secrets.
                env={"MALLOC_ARENA_MAX": "1"},
            )
        except subprocess.TimeoutExpired:
            log.warning("a picture took too long", kind=kind)
            return b""
        if ended.returncode < 0:
            log.warning("the process of a picture was ended", kind=kind, signal=-ended.returncode)
        return ended.stdout if ended.returncode == 0 else b""


def _read(said: bytes) -> Picture | None:
    size, _, thumbnail = said.partition(b"\n")
    if not thumbnail:
        return None
    found = msgspec.json.decode(size, type=dict[str, int])
    return Picture(found["width"], found["height"], thumbnail)
