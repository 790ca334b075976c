"""Is it there? Raw sockets, because client libraries retry for seconds before they say no."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from im_local.ports import HOST

if TYPE_CHECKING:
    # The supervisor stays small without it.
    import ssl

Probe = Callable[[], Awaitable[bool]]

_TIMEOUT_S = 2.0
_KAFKA_METADATA = struct.pack(">hhih2si", 3, 0, 1, 2, b"im", 0)


def http(port: int, path: str, *, contains: bytes = b"") -> Probe:
    """True when the path answers 200 with a body that contains the bytes."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()

    async def probe() -> bool:
        answer = await _exchange(port, request, until_closed=True)
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.split(b"\r\n", 1)[0].split(b" ")[1:2] == [b"200"] and contains in body

    return probe


def redis(port: int, *, tls: ssl.SSLContext | None = None, login: str = "") -> Probe:
    """True when PING is answered; a server that still loads its file answers otherwise. `login` is a
    name and a password."""
    commands = [*([f"AUTH {login}"] if login else []), "PING"]
    request = "".join(f"{command}\r\n" for command in commands).encode()

    async def probe() -> bool:
        answers = await _exchange(port, request, lines=len(commands), tls=tls)
        return answers.endswith(b"+PONG\r\n")

    return probe


def etcd(port: int) -> Probe:
    """True when etcd calls itself healthy, which needs an elected leader."""
    return http(port, "/health", contains=b'"true"')


def mysql(port: int) -> Probe:
    """True when a MySQL or MariaDB greeting comes; it comes only when the server takes clients."""

    async def probe() -> bool:
        greeting = await _exchange(port, b"")
        return len(greeting) > 5 and greeting[4] == 10

    return probe


def kafka(port: int, *, brokers: int = 1, tls: ssl.SSLContext | None = None) -> Probe:
    """True when the metadata names so many brokers: they are registered, unfenced and take requests."""
    request = struct.pack(">i", len(_KAFKA_METADATA)) + _KAFKA_METADATA

    async def probe() -> bool:
        answer = await _exchange(port, request, tls=tls)
        return len(answer) >= 12 and struct.unpack_from(">i", answer, 8)[0] >= brokers

    return probe


async def passes(probe: Probe) -> bool:
    """Run a probe; whatever keeps it from an answer is a no."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await probe()
    except (OSError, TimeoutError, ValueError):
        return False


def passes_now(probe: Probe) -> bool:
    """The same for who does not wait; also in a thread whose loop is running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, passes(probe)).result()


async def wait_until(probe: Probe, *, every_s: float = 0.05) -> None:
    """Return when the probe says yes; the caller sets the limit."""
    while not await passes(probe):
        await asyncio.sleep(every_s)


async def _exchange(
    port: int,
    request: bytes,
    *,
    until_closed: bool = False,
    lines: int = 0,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
    try:
        writer.write(request)
        if lines:
            return b"".join([await reader.readline() for _ in range(lines)])
        return await reader.read(-1 if until_closed else 4096)
    finally:
        writer.close()
