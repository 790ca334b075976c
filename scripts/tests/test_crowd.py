"""A client of the benchmarks does as an application does, however late it reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from im_bench.crowd import Talk
from im_bench.people import Person

TALK = "s:1001:1002"

Frame = dict[str, Any]


class Gateway:
    """Of each connection it says all that it has to say in one piece, as who reads late finds it: with
    the handshake, and when it has heard a `sync`. It closes when it has heard so many frames."""

    def __init__(self, *connections: tuple[Sequence[Frame], Sequence[Frame], int]) -> None:
        self.url = ""
        self._connections = iter(connections)
        self.heard: list[list[Frame]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        greeting, caught_up, most = next(self._connections)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + _texts(greeting))
        heard: list[Frame] = []
        self.heard.append(heard)
        for _ in range(most):
            heard.append(await _read_text(reader))
            if heard[-1]["type"] == "sync":
                writer.write(_texts(caught_up))
        writer.close()


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[Gateway]:
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    async with server:
        gateway.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/connect"
        yield gateway


def _texts(frames: Sequence[Frame]) -> bytes:
    payloads = [msgspec.json.encode(frame) for frame in frames]
    return b"".join(b"\x81\x7e" + len(p).to_bytes(2, "big") + p for p in payloads)


async def _read_text(reader: asyncio.StreamReader) -> Frame:
    """Of a client whose masking key is zero, and whose frames are short."""
    length = (await reader.readexactly(2))[1] & 0x7F
    await reader.readexactly(4)
    frame: Frame = msgspec.json.decode(await reader.readexactly(length))
    return frame


def _message(seq: int) -> Frame:
    return {"type": "message", "conversation_id": TALK, "seq": seq, "message_id": f"m-{seq}"}


def _sync(*messages: Frame) -> Frame:
    conversations = [{"conversation_id": TALK, "messages": messages}]
    return {"type": "sync", "conversations": conversations, "has_more": False}


async def test_what_comes_together_with_the_hello_belongs_to_the_new_connection() -> None:
    """What was missed before it is being asked for, and a batch is confirmed where it came."""
    talk, hello = Talk(Person(1001, "a", "t"), Person(1002, "b", "t")), {"type": "hello"}
    # 2 to 4 were on their way to the gateway that died.
    batch = {"type": "offline", "batch_id": "b-1", "frames": [_message(5)], "remaining": 0}
    missed = _sync(*map(_message, (2, 3, 4, 5)))
    first, second = ([hello], [_sync(_message(1))], 1), ([hello, batch], [missed], 2)
    async with listening(Gateway(first, second)) as gateway:
        receiving = asyncio.create_task(talk.keep_receiving(gateway.url))
        async with asyncio.timeout(10):
            while talk.failure is None and not (
                list(talk.received.messages) == [1, 5, 2, 3, 4] and len(gateway.heard[1]) == 2
            ):
                await asyncio.sleep(0.001)
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    assert talk.failure is None
    assert gateway.heard[1] == [
        {"type": "sync", "cursors": {TALK: 1}, "limit": 500},
        {"type": "offline_ack", "batch_id": "b-1"},
    ]
