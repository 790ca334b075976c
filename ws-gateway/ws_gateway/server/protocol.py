"""websockets' Sans-I/O protocol of a server, with a short way for most of what clients send.

Nearly every handshake is one piece of a few lines, and nearly every frame a whole masked text of some
hundred bytes. The one is read by one pattern and answered by one constant; where a frame begins, all
of that kind are taken out of the buffer in one loop. That is a fraction of the cost of the library's
parser; all others, and all that is wrong, stay the library's. Among ``events_received()`` such a text
is a ``str``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol as _ServerProtocol
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

# FIN and TEXT, no extension; a length that says itself, or in the bytes after it.
_WHOLE_TEXT = 0x81
_MASKED, _LONGEST, _IN_TWO_BYTES, _IN_EIGHT_BYTES = 0x80, 125, 126, 127
_NO_HANDSHAKE = "the request is not HTTP/1.1 in ASCII, or has a body\n"
# With a mask, without a length of its own.
_HEAD_BYTES = 6

# Of a request: what the library takes, and no more.
_REQUEST = re.compile(
    rb"GET ([\x21-\x7e]+) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[\t\x20-\x7e\x80-\xff]*\r\n){1,100})\r\n"
)
_MOST_REQUEST_BYTES = 8192
_OF_A_BODY = ("Content-Length", "Transfer-Encoding")
# It need not have a Date (RFC 9110).
_UPGRADED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {}\r\n"
)

log = logging.getLogger("websockets.server")


@lru_cache(maxsize=4096)
def text_head(size: int) -> bytes:
    """What goes before a whole text of so many bytes that a server sends."""
    if size <= _LONGEST:
        return bytes((_WHOLE_TEXT, size))
    if size < 1 << 16:
        return bytes((_WHOLE_TEXT, _IN_TWO_BYTES, size >> 8, size & 255))
    return bytes((_WHOLE_TEXT, _IN_EIGHT_BYTES)) + size.to_bytes(8)


def whole_request(head: bytes | bytearray) -> Request | None:
    """What ``head`` is when it is a plain request and nothing else."""
    found = _REQUEST.fullmatch(head) if len(head) <= _MOST_REQUEST_BYTES else None
    if found is None:
        return None
    headers = Headers()
    for line in found[2].decode("iso-8859-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        headers.set_insecure(name, value.strip(" \t"))
    if any(name in headers for name in _OF_A_BODY):
        return None
    return Request(found[1].decode(), headers)


class _Reader(StreamReader):
    """The library asks ``at_eof`` where a frame begins."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self._protocol = protocol

    def at_eof(self) -> Generator[None, None, bool]:
        while True:
            self._take_texts()
            if self.buffer:
                return False
            if self.eof:
                return True
            yield

    def _take_texts(self) -> None:
        protocol, buffer = self._protocol, self.buffer
        if protocol.state is not State.OPEN or protocol.current_size is not None:
            # It is closing, or this is a message in fragments.
            return
        most, events = protocol.max_message_size, cast(list[Any], protocol.events)
        at, available = 0, len(buffer)
        while available - at >= _HEAD_BYTES and buffer[at] == _WHOLE_TEXT:
            begin, size = at + _HEAD_BYTES, buffer[at + 1] - _MASKED
            if size == _IN_TWO_BYTES:
                begin, size = begin + 2, int.from_bytes(buffer[at + 2 : at + 4])
            elif not 0 <= size <= _LONGEST:
                break
            end = begin + size
            if end > available or (most is not None and size > most):
                break
            try:
                text = str(apply_mask(buffer[begin:end], buffer[begin - 4 : begin]), "utf-8")
            except UnicodeDecodeError:
                break
            events.append(text)
            at = end
        if at:
            del buffer[:at]


class _Frames(Protocol):
    """Comes after the handshake's part of ``parse``."""

    def parse(self) -> Generator[None]:
        before, self.reader = self.reader, _Reader(self)
        self.reader.buffer, self.reader.eof = before.buffer, before.eof
        yield from super().parse()


class ServerProtocol(_ServerProtocol, _Frames):
    """As the library's, but for the texts among its events, and an answer to what is no handshake."""

    def __init__(self, **options: Any) -> None:
        super().__init__(logger=log, **options)

    def parse(self) -> Generator[None]:
        while not self.reader.buffer and not self.reader.eof:
            yield
        request = whole_request(self.reader.buffer)
        if request is None:
            yield from super().parse()
        else:
            self.reader.buffer.clear()
            self.events.append(request)
            yield from _Frames.parse(self)

    def upgrade(self, request: Request) -> bool:
        """Answers it; whether it is a WebSocket from now on, or was refused."""
        try:
            key, _, subprotocol = self.process_request(request)
        except InvalidHandshake:
            # It says why.
            self.send_response(self.accept(request))
            return False
        answer = _UPGRADED.format(key)
        if subprotocol is not None:
            answer += f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
        self.writes.append(f"{answer}\r\n".encode())
        self.state = State.OPEN
        return True

    def send_eof(self) -> None:
        """The library closes without a word when it cannot read the request."""
        error = self.handshake_exc
        if isinstance(error, InvalidMessage) and not self.reader.eof:
            self.writes.append(self.reject(HTTPStatus.BAD_REQUEST, _NO_HANDSHAKE).serialize())
        super().send_eof()
