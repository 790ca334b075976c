"""A small HTTP/1.1 client: one request at a time on a connection that stays open."""

from __future__ import annotations

import asyncio
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from im_bench.report import Failed

# A server that has no room for now: how often it is asked again, and when, if it does not say.
NO_ROOM = 503
MOST_TRIES = 30
PAUSE_MS = 1_000


class Client:
    """JSON requests to one server, cheap enough not to be what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def request(
        self, method: str, path: str, *, token: str = "", body: object = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", "host: bench", f"content-length: {len(content)}"]
        if content:
            lines.append("content-type: application/json")
        if token:
            lines.append(f"authorization: Bearer {token}")
        self._writer.write("\r\n".join((*lines, "", "")).encode() + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


async def call(client: Client, method: str, path: str, **more: Any) -> Any:
    """The decoded answer. Raises Failed when it is not a success."""
    answer = await fetch(client, method, path, **more)
    return msgspec.json.decode(answer) if answer else None


async def insist(client: Client, method: str, path: str, **more: Any) -> Any:
    """As ``call``, and again, when the server says to, while it says that it has no room. Raises Failed
    when it has none for long."""
    for _ in range(MOST_TRIES):
        status, answer = await client.request(method, path, **more)
        if status < 300:
            return msgspec.json.decode(answer) if answer else None
        if status != NO_ROOM:
            break
        problem = msgspec.json.decode(answer)
        await asyncio.sleep(problem.get("retry_after_ms", PAUSE_MS) / 1000)
    raise Failed(f"{method} {path}: {status} {answer.decode(errors='replace')}")


async def fetch(client: Client, method: str, path: str, **more: Any) -> bytes:
    """The same, not decoded."""
    status, answer = await client.request(method, path, **more)
    if status >= 300:
        raise Failed(f"{method} {path}: {status} {answer.decode(errors='replace')}")
    return answer
