"""A WebSocket client (RFC 6455) that costs little: the load generator shares the cores with what it
loads. Frames go out with a masking key of zero, which the protocol allows and which masks nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from im_bench.report import Failed

_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_NO_MASK = bytes(4)
CONNECT_WITHIN_S = 10.0


def text_frame(payload: bytes) -> bytes:
    return _frame(_TEXT, payload)


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    return head + _NO_MASK + payload


class Socket(asyncio.Protocol):
    """Calls ``on_frame`` with the payload of each text frame after the `hello`, as it comes."""

    def __init__(
        self,
        request: bytes,
        on_frame: Callable[[bytes], None],
        on_hello: Callable[[Socket], None],
    ) -> None:
        self._request = request
        self._on_frame = on_frame
        self._on_hello = on_hello
        self._buffer = b""
        self._upgraded = False
        self._transport: asyncio.Transport | None = None
        # What is written while frames are being read goes out at once, together.
        self._out: list[bytes] | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Why it ended, when it did.
        self.ended: str | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        """Sends frames that ``text_frame`` made."""
        if self._out is not None:
            self._out.append(data)
        elif self._transport is not None and self.ended is None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self.write(_frame(_CLOSE, (1000).to_bytes(2, "big")))
            self._transport.close()

    def pause(self) -> None:
        """It reads nothing any more."""
        if self._transport is not None:
            self._transport.pause_reading()

    def abort(self) -> None:
        """Ends it without a word, as a network does."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def connection_lost(self, _error: Exception | None) -> None:
        self._end("the connection was lost")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        out = self._out = []
        self._buffer = buffer[self._take_frames(buffer) :]
        self._out = None
        if out:
            self.write(b"".join(out))

    def _take_frames(self, buffer: bytes) -> int:
        """How many bytes of the buffer were used up."""
        at = 0 if self._upgraded else self._upgrade(buffer)
        end = len(buffer) if self._upgraded else at
        while end - at >= 2:
            start, length = at + 2, buffer[at + 1]
            if length >= 126:
                size = 2 if length == 126 else 8
                start += size
                length = int.from_bytes(buffer[at + 2 : start], "big")
            if end < start or end < start + length:
                break
            payload = buffer[start : start + length]
            if buffer[at] == 0x80 | _TEXT:
                if self.ready.done():
                    self._on_frame(payload)
                else:
                    self.ready.set_result(None)
                    self._on_hello(self)
            else:
                self._control(buffer[at] & 0xF, payload)
            at = start + length
        return at

    def _upgrade(self, buffer: bytes) -> int:
        """Where the frames begin; 0 while the answer is not whole."""
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return 0
        if not buffer.startswith(b"HTTP/1.1 101"):
            self._end(buffer.partition(b"\r\n")[0].decode(errors="replace"))
            return len(buffer)
        self._upgraded = True
        return end + 4

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.write(_frame(_PONG, payload))
        elif opcode == _CLOSE:
            code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")
            self._end(f"closed with {code} {reason}")

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason
        if not self.over.done():
            self.over.set_result(None)
        if not self.ready.done():
            self.ready.set_exception(Failed(f"no WebSocket: {self.ended}"))


async def connect(
    url: str,
    token: str,
    on_frame: Callable[[bytes], None],
    on_hello: Callable[[Socket], None] = lambda _: None,
) -> Socket:
    """Gives it when `hello` came: what is sent to it from then on comes live. Before that ``on_hello``
    was called, and then ``on_frame`` with what came right behind it. Raises Failed when the handshake
    is refused, OSError when nobody listens."""
    parts = urlsplit(url)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {token}",
    ]
    request = "\r\n".join((*lines, "", "")).encode()
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: Socket(request, on_frame, on_hello), parts.hostname or "", parts.port or 80
    )
    async with asyncio.timeout(CONNECT_WITHIN_S):
        await socket.ready
    return socket
