"""The WebSocket of one client, on websockets' Sans-I/O protocol: handshake, texts in and out, close."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State

from im_common.domain import frames
from im_common.runtime.http_limits import MAX_HEADER_BYTES, Guests
from ws_gateway.server.pings import Pings
from ws_gateway.server.protocol import ServerProtocol, text_head

OPEN_TIMEOUT_S = 5.0
# Handshakes on their way at once; beyond it the oldest gives way.
MOST_NEWCOMERS = 1024
CLOSE_TIMEOUT_S = 2.0
# Texts that wait to be worked on before nothing more is read, and when it is read on.
MOST_WAITING = 128
FEW_WAITING = 32
# Of the protocol's own answers, to pings, there may be more in the socket than a client reads.
MOST_UNREAD_BYTES = 8 * 1024 * 1024
# Read at once, into one buffer for all: it is empty again before the next one is read.
READ_BYTES = 16 * 1024

_SELECTED = (Opcode.TEXT, Opcode.BINARY)


class Closed(Exception):
    """The client has gone, or is going."""


class Socket(asyncio.BufferedProtocol):
    """Made by the listener for each connection; ``serve`` runs, in a task, from a complete request on,
    answers it by ``accept`` or ``refuse``, and then takes what comes by ``readable`` and ``take``, or
    at once by ``on_text``."""

    def __init__(
        self,
        serve: Callable[[Socket, Request], Coroutine[Any, Any, None]],
        select_subprotocol: Callable[..., Any],
        buffer: memoryview,
        pings: Pings,
        newcomers: Guests | None = None,
    ) -> None:
        """``pings`` are of all open ones; ``newcomers`` are those whose handshake is on its way."""
        self._serve = serve
        self._buffer = buffer
        self._protocol = ServerProtocol(
            max_size=frames.MAX_FRAME_BYTES, select_subprotocol=select_subprotocol
        )
        self._pings = pings
        self._newcomers = Guests(MOST_NEWCOMERS, 0) if newcomers is None else newcomers
        self._handshake_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # A list of a few: an empty deque takes ten times the memory, and nearly all are empty.
        self._incoming: list[str | bytes] = []
        # Of a message that comes in fragments.
        self._parts: list[bytes] = []
        self._is_text = True
        self._loop = asyncio.get_running_loop()
        # Of who waits: whether it is for what ``on_text`` has left.
        self._reader: asyncio.Future[bool] | None = None
        self._is_paused = False
        # Since when (time.monotonic()) each read has filled the buffer, so that more was there already;
        # None when the last one did not.
        self._full_since: float | None = None
        # Whether something came since the last ping.
        self._is_alive = True
        # Whether all that was written has left.
        self._is_empty = True
        self._is_ending = False
        # Of its other end; empty when that is not known.
        self.address = ""
        self.on_writable: Callable[[], None] = lambda: None
        # Called when something has come, while ``serve`` waits in ``readable``: False wakes it.
        self.on_text: Callable[[], bool] = lambda: False

    # --- handshake ---------------------------------------------------------------------------

    def accept(self, request: Request, *, with_text: bool = False) -> bool:
        """Whether it is a WebSocket from now on; otherwise the request was refused, or the client has
        gone meanwhile. ``with_text``: the client is told at the first text, or the close, by the same
        write."""
        if self._transport_closes():
            return False
        if not self._protocol.upgrade(request):
            self._send()
            self._await_end()
            return False
        if not with_text:
            self._send()
        self._newcomers.leave(self)
        # The library keeps the request for as long as the connection lasts.
        request.headers.clear()
        self._stop_timer()
        self._pings.add(self)
        return True

    def refuse(self, status: HTTPStatus, text: str, headers: dict[str, str]) -> None:
        response = self._protocol.reject(status, text)
        for name, value in headers.items():
            response.headers[name] = value
        self._protocol.send_response(response)
        self._send()
        self._await_end()

    # --- texts -------------------------------------------------------------------------------

    async def readable(self) -> None:
        """Waits until it ``has_waiting``, or ``on_text`` has given False. Raises Closed."""
        is_due = False
        while not self._incoming and not is_due:
            if self._protocol.state is not State.OPEN or self._transport is None:
                raise Closed
            self._reader = self._loop.create_future()
            is_due = await self._reader

    @property
    def has_waiting(self) -> bool:
        """Whether ``take`` has something."""
        return bool(self._incoming)

    @property
    def late_s(self) -> float:
        """For how long more has come than was taken: what is next may have waited that long, unread."""
        return 0.0 if self._full_since is None else time.monotonic() - self._full_since

    def take(self) -> str | bytes:
        """The next message; bytes for a binary one."""
        text = self._incoming.pop(0)
        if self._is_paused and len(self._incoming) <= FEW_WAITING:
            self._resume_reading()
        return text

    async def rest(self, seconds: float) -> None:
        """Reads nothing meanwhile: what comes is read together, at less cost."""
        self._pause_reading()
        await asyncio.sleep(seconds)
        self._resume_reading()

    @property
    def writable(self) -> bool:
        """Whether it is open, and nothing that was written still waits in it."""
        return (
            self._is_empty and self._protocol.state is State.OPEN and not self._transport_closes()
        )

    def write(self, texts: Iterable[bytes]) -> None:
        """Only while it is writable."""
        assert self._transport is not None
        parts = [part for t in texts for part in (text_head(len(t)), t)]
        if self._protocol.writes:
            parts = [*self._protocol.data_to_send(), *parts]
        self._transport.write(b"".join(parts))

    def close(self, code: int, reason: str) -> None:
        """Tells the client; it ends when that answers, or does not."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._send()
        self._await_end()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def ended(self) -> None:
        """Waits until it is gone."""
        while self._transport is not None:
            self._reader = self._loop.create_future()
            await self._reader

    # --- called by the event loop --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass of it.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self.address = str((self._transport.get_extra_info("peername") or [""])[0])
        if not self._newcomers.enter(self, self.address):
            self._transport.abort()
        self._set_timer(OPEN_TIMEOUT_S, self.abort)

    def evict(self) -> None:
        """Others want its place, and it has not even finished its handshake."""
        self.abort()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._is_alive = True
        if self._task is None and self._is_handshake_too_long(nbytes):
            return
        if nbytes < len(self._buffer):
            self._full_since = None
        elif self._full_since is None:
            self._full_since = time.monotonic()
        self._protocol.receive_data(bytes(self._buffer[:nbytes]))
        self._received()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._received()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._newcomers.leave(self)
        self._pings.remove(self)
        self._protocol.receive_eof()
        self._stop_timer()
        self._wake()

    def pause_writing(self) -> None:
        self._is_empty = False

    def resume_writing(self) -> None:
        self._is_empty = True
        self.on_writable()

    # --- inside ------------------------------------------------------------------------------

    def _received(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, str):
                self._incoming.append(event)
            elif isinstance(event, Frame):
                self._put_frame(event)
            elif isinstance(event, Request):
                self._task = asyncio.create_task(self._serve(self, event), name="connection")
        self._send()
        if self._protocol.state is not State.OPEN and self._protocol.close_expected():
            self._await_end()
        if self._protocol.state is not State.OPEN:
            self._wake()
        elif not self._is_worked_on():
            self._wake(is_due=True)
        if len(self._incoming) > MOST_WAITING:
            self._pause_reading()

    def _is_worked_on(self) -> bool:
        """Whether there is nothing to wake a task for: that costs as much as the work on a message."""
        reader = self._reader
        return reader is None or reader.done() or not self._incoming or self.on_text()

    def _is_handshake_too_long(self, nbytes: int) -> bool:
        """And if so refuses it; what goes on coming is thrown away until the end."""
        if self._is_ending:
            return True
        self._handshake_bytes += nbytes
        if self._handshake_bytes <= MAX_HEADER_BYTES:
            return False
        text = f"the header may have at most {MAX_HEADER_BYTES} bytes\n"
        self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text, {})
        return True

    def _transport_closes(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _pause_reading(self) -> None:
        if not self._is_paused and self._transport is not None and not self._transport_closes():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_paused and self._transport is not None and not self._transport_closes():
            self._is_paused = False
            self._transport.resume_reading()

    def _put_frame(self, frame: Frame) -> None:
        data = bytes(frame.data)
        if frame.opcode in _SELECTED:
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._put(data)
            else:
                self._parts = [data]
        elif frame.opcode is Opcode.CONT:
            self._parts.append(data)
            if frame.fin:
                parts, self._parts = self._parts, []
                self._put(b"".join(parts))

    def _put(self, data: bytes) -> None:
        if not self._is_text:
            self._incoming.append(data)
            return
        try:
            self._incoming.append(str(data, "utf-8"))
        except UnicodeDecodeError as error:
            self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at {error.start}")

    def _send(self) -> None:
        """What the protocol has to say."""
        writes, transport = self._protocol.data_to_send(), self._transport
        if not writes or transport is None or transport.is_closing():
            return
        if not self._is_empty and transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
            # It asks and asks, and reads no answer.
            transport.abort()
            return
        if writes[-1] == SEND_EOF:
            del writes[-1]
            transport.write(b"".join(writes))
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
        else:
            transport.write(writes[0] if len(writes) == 1 else b"".join(writes))

    def _wake(self, *, is_due: bool = False) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(is_due)

    def ping(self) -> None:
        """It is ended when it has said nothing since the last one."""
        if self._is_ending:
            return
        if not self._is_alive:
            self._protocol.fail(CloseCode.INTERNAL_ERROR, "no answer to a ping")
            self._send()
            self._await_end()
            self._wake()
            return
        self._is_alive = False
        self._protocol.send_ping(b"")
        self._send()

    def _await_end(self) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        self._set_timer(CLOSE_TIMEOUT_S, self.abort)

    def _set_timer(self, seconds: float, then: Callable[[], None]) -> None:
        """There is one: until it is open, or until it has ended."""
        self._stop_timer()
        if self._transport is not None:
            self._timer = self._loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
