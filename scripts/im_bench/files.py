"""Files up and down by many clients at once, and the memory that the gateway takes for it."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from im_bench.options import whole
from im_bench.people import Person, register
from im_bench.report import Failed, Row
from im_local.testing import Ready

GATEWAY = "api-gateway"
SLOWEST_MIB_PER_S = 5
SAMPLE_S = 0.02
_MIB = 1024 * 1024
_PIECE = 64 * 1024
_BEGIN = b'--bench\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
_END = b"\r\n--bench--\r\n"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=whole(), default=20, help="files at a time")
    parser.add_argument("--mib", type=whole(), default=25, help="of each file")


def longest_s(options: argparse.Namespace) -> float:
    return float(2 * options.clients * options.mib / SLOWEST_MIB_PER_S)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, options.clients)
    # One in each client's place, and no two alike.
    contents = [os.urandom(_PIECE) for _ in people]
    pieces = options.mib * _MIB // _PIECE
    memory = Memory(ready.pids[GATEWAY])
    urls: list[str] = [""] * len(people)

    async def up(n: int, person: Person) -> None:
        urls[n] = await _upload(ready.api, person, contents[n], pieces)

    async def down(n: int, person: Person) -> None:
        wanted = hashlib.sha256(contents[n] * pieces).digest()
        if await _download(ready.api, person, urls[n]) != wanted:
            raise Failed(f"{urls[n]} is not what was uploaded")

    rows = [("load", f"{options.clients} clients, a file of {options.mib} MiB each, all at once")]
    rows.append(("gateway at rest", memory.at_rest.text()))
    for name, work in (("upload", up), ("download", down)):
        rows += await _measured(name, work, people, memory, options.clients * options.mib)
    return rows


class Sizes(msgspec.Struct, frozen=True):
    """In bytes; of pages that processes share, ``pss`` counts a part, ``rss`` all."""

    rss: int
    pss: int

    def text(self) -> str:
        return f"RSS {self.rss / _MIB:.1f}, PSS {self.pss / _MIB:.1f} MiB"


class Memory:
    """Of one process, now and at its most."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/smaps_rollup")
        self.at_rest = self.peak = self._sizes()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Sees the most there is within the block."""
        self.peak = self._sizes()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            now = self._sizes()
            self.peak = Sizes(max(self.peak.rss, now.rss), max(self.peak.pss, now.pss))
            await asyncio.sleep(SAMPLE_S)

    def _sizes(self) -> Sizes:
        found = {}
        for line in self._path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name in ("Rss", "Pss"):
                found[name] = int(value.split()[0]) * 1024
        return Sizes(found["Rss"], found["Pss"])


async def _measured(
    name: str,
    work: Callable[[int, Person], Awaitable[None]],
    people: Sequence[Person],
    memory: Memory,
    mib: int,
) -> list[Row]:
    begin = time.perf_counter()
    async with memory.watched():
        await asyncio.gather(*(work(n, person) for n, person in enumerate(people)))
    took = time.perf_counter() - begin
    over = Sizes(memory.peak.rss - memory.at_rest.rss, memory.peak.pss - memory.at_rest.pss)
    return [
        (name, f"{mib / took:.0f} MiB a second"),
        (f"gateway, most in {name}", f"{memory.peak.text()}; over rest {over.text()}"),
    ]


async def _upload(api: str, person: Person, piece: bytes, pieces: int) -> str:
    """The URL of the file."""
    length = len(_BEGIN) + len(piece) * pieces + len(_END)
    reader, writer = await _ask(
        api,
        "POST /v1/files",
        person,
        f"content-type: multipart/form-data; boundary=bench\r\ncontent-length: {length}\r\n",
    )
    writer.write(_BEGIN)
    for _ in range(pieces):
        writer.write(piece)
        await writer.drain()
    writer.write(_END)
    head = await reader.readuntil(b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    if b" 201 " not in head[:20]:
        raise Failed(f"upload: {head!r} {answer!r}")
    told: dict[str, object] = msgspec.json.decode(answer)
    return str(told["url"])


async def _download(api: str, person: Person, url: str) -> bytes:
    """The SHA-256 of what came."""
    reader, writer = await _ask(api, f"GET {url}", person, "")
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        raise Failed(f"download: {head!r}")
    found = hashlib.sha256()
    while piece := await reader.read(_PIECE):
        found.update(piece)
    writer.close()
    return found.digest()


async def _ask(
    api: str, what: str, person: Person, more: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(api)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"{what} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
    writer.write(f"{head}authorization: Bearer {person.token}\r\n{more}\r\n".encode())
    return reader, writer
