"""websockets' Sans-I/O protocol of a server, with a short way for most of what clients send.

Nearly every frame is a whole masked text of some hundred bytes. Where a frame begins, all of that kind
are taken out of the buffer in one loop, at a fraction of the cost of the library's parser; all others,
and all that is wrong, stay the library's. Among ``events_received()`` such a text is a ``str``.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from websockets.exceptions import InvalidMessage
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


@lru_cache(maxsize=4096)
def text_head(size: int) -> bytes:
    """What goes before a whole text of so many bytes that a server sends."""
    if size <= _LONGEST:
        return bytes((_WHOLE_TEXT, size))
    if size < 1 << 16:
        return bytes((_WHOLE_TEXT, _IN_TWO_BYTES, size >> 8, size & 255))
    return bytes((_WHOLE_TEXT, _IN_EIGHT_BYTES)) + size.to_bytes(8)


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

    def send_eof(self) -> None:
        """The library closes without a word when it cannot read the request."""
        error = self.handshake_exc
        if isinstance(error, InvalidMessage) and not self.reader.eof:
            self.writes.append(self.reject(HTTPStatus.BAD_REQUEST, _NO_HANDSHAKE).serialize())
        super().send_eof()
