"""`python -m im_bench.bare.gateway SERVERS`: takes `chat` frames, puts them on the log, and sends what
it is pushed. It prints its two ports, and ends with its input."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from zlib import crc32

import grpc
import msgspec
import uvloop

from im_bench.bare import log
from im_bench.bare.parts import HOST, METHOD, PARTITIONS, Push, Record, Servers
from im_common.domain.ids import new_message_id, now_ms, single_conversation

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST = 1_000


class _Chat(msgspec.Struct):
    to: int
    client_msg_id: str
    content: str


_chat = msgspec.json.Decoder(_Chat)
_push = msgspec.msgpack.Decoder(Push)
_record = msgspec.msgpack.Encoder()


class Gateway:
    def __init__(self, writer: log.Writer) -> None:
        self._writer = writer
        self.users: dict[int, Connection] = {}
        self._waiting: dict[int, Connection] = {}
        self._token = 0
        # What waits for its partition's last batch; a partition that waits for nothing is not there.
        self._pending: dict[int, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, sender: Connection, chat: _Chat) -> None:
        self._token += 1
        self._waiting[self._token] = sender
        conversation_id = single_conversation(sender.user_id, chat.to)
        record = Record(
            self._token,
            new_message_id(),
            conversation_id,
            sender.user_id,
            chat.to,
            chat.client_msg_id,
            chat.content,
            now_ms(),
        )
        partition = crc32(conversation_id.encode()) % PARTITIONS
        pending = self._pending.get(partition)
        if pending is None:
            self._pending[partition] = [_record.encode(record)]
            task = asyncio.create_task(self._write(partition))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            pending.append(_record.encode(record))

    async def _write(self, partition: int) -> None:
        while pending := self._pending[partition]:
            self._pending[partition] = pending[_MOST:]
            await self._writer.write(partition, pending[:_MOST])
        del self._pending[partition]

    async def serve(self, _requests: Any, call: Any) -> None:
        while (request := await call.read()) is not grpc.aio.EOF:
            push = _push.decode(request)
            frames: dict[Connection, list[bytes]] = defaultdict(list)
            for token, frame in push.answers:
                frames[self._waiting.pop(token)].append(frame)
            for user_id, frame in push.frames:
                frames[self.users[user_id]].append(frame)
            for connection, found in frames.items():
                connection.write(found)
            await call.write(b"")

    def service(self) -> grpc.GenericRpcHandler:
        handler: Any = grpc.stream_stream_rpc_method_handler(self.serve)
        service, _, method = METHOD[1:].partition("/")
        return grpc.method_handlers_generic_handler(service, {method: handler})


class Connection(asyncio.Protocol):
    """A WebSocket of the load generator (im_bench.websocket), whose frames are masked with zero only.
    The token is the id of its user."""

    user_id = 0

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        self._buffer = buffer[self._take(buffer) if self.user_id else self._upgrade(buffer) :]

    def write(self, frames: Iterable[bytes]) -> None:
        self._transport.write(b"".join(map(_framed, frames)))

    def _upgrade(self, buffer: bytes) -> int:
        head, end, _ = buffer.partition(b"\r\n\r\n")
        if not end:
            return 0
        lines = (line.partition(b": ") for line in head.split(b"\r\n"))
        headers = {name: value for name, _, value in lines}
        digest = hashlib.sha1(headers[b"Sec-WebSocket-Key"] + _MAGIC, usedforsecurity=False)
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(digest.digest())
        )
        self.user_id = int(headers[b"Authorization"].removeprefix(b"Bearer "))
        self._gateway.users[self.user_id] = self
        self.write([b'{"type":"hello"}'])
        return len(head) + len(end)

    def _take(self, buffer: bytes) -> int:
        at, end = 0, len(buffer)
        while end - at >= 6:
            start, length = at + 6, buffer[at + 1] & 0x7F
            if length == 126:
                start, length = at + 8, int.from_bytes(buffer[at + 2 : at + 4], "big")
            if end < start + length:
                break
            payload = buffer[start : start + length]
            if payload.startswith(b'{"type":"chat"'):
                self._gateway.take(self, _chat.decode(payload))
            at = start + length
        return at


def _framed(payload: bytes) -> bytes:
    length = len(payload)
    head = bytes((0x81, length)) if length < 126 else b"\x81\x7e" + length.to_bytes(2, "big")
    return head + payload


async def _serve(servers: Servers) -> None:
    async with log.writer(servers) as writer:
        gateway = Gateway(writer)
        rpc = grpc.aio.server()
        rpc.add_generic_rpc_handlers([gateway.service()])
        rpc_port = rpc.add_insecure_port(f"{HOST}:0")
        await rpc.start()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(gateway), HOST, 0)
        gc.freeze()
        print(server.sockets[0].getsockname()[1], rpc_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()
        await rpc.stop(0)


if __name__ == "__main__":
    uvloop.run(_serve(msgspec.json.decode(sys.argv[1], type=Servers)))
