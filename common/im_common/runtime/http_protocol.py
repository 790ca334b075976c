"""uvicorn's HTTP protocol with bounds that it has none of: bytes of a header, time for a header and for
a body, connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from im_common.errors import Code
from im_common.runtime import context
from im_common.runtime.http_limits import Guests, HttpLimits

# Of a body, or what follows it, that is parsed at once.
_PIECE_BYTES = 32 * 1024
# A client that is still sending reads its answer only then: it is waited for until nothing has come
# for so long.
_LINGER_S = 2.0


class _Phase(Enum):
    """What the client has to send next."""

    FIRST_REQUEST = "first request"
    HEADER = "header"
    BODY = "body"
    # The next request, if it likes.
    NOTHING = "nothing"
    # Something came that begins no request.
    STRAY = "stray"


class _TooLong(Exception):
    """The header of a request, or what stands between the parts of its body."""


def limited_protocol(limits: HttpLimits, guests: Guests) -> type[asyncio.Protocol]:
    """What uvicorn takes as its ``http``."""
    return cast("type[asyncio.Protocol]", partial(LimitedProtocol, limits, guests))


class LimitedProtocol(HttpToolsProtocol):
    """A request that goes beyond the limits gets 431, 408 or nothing, and the connection ends."""

    def __init__(self, limits: HttpLimits, guests: Guests, **more: Any) -> None:
        super().__init__(**more)
        self._limits = limits
        self._guests = guests
        self._phase = _Phase.FIRST_REQUEST
        self._requests = 0
        # Of the header that is on its way.
        self._header_bytes = 0
        self._body_came = False
        # The phase, of which request, that the timer is for.
        self._timed: tuple[_Phase, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._lingers_until: float | None = None

    # --- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._guests.enter(self, self.client[0] if self.client else ""):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE, "too many connections")
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._guests.leave(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            if self._lingers_until is not None:
                self._linger(self._lingers_until)
            return
        self._unset_keepalive_if_required()
        try:
            self._feed(memoryview(data))
        except _TooLong:
            self._refuse_header()
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _TooLong):
                self._refuse_header()
            else:
                self.send_400_response("the request is not HTTP")
        except httptools.HttpParserError:
            self.send_400_response("the request is not HTTP")
        except httptools.HttpParserUpgrade:
            # We speak nothing else: it is answered as if it had not asked. The parser reads no more.
            if self.cycle is not None:
                self.cycle.keep_alive = False
        self._watch()

    def evict(self) -> None:
        self._is_over = True
        self.transport.abort()

    # --- httptools -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._phase = _Phase.HEADER
        self._requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.header_bytes:
            raise _TooLong
        super().on_headers_complete()
        # Closed with bytes unread, a socket takes back what it has sent: the answer, too.
        self.cycle.transport = cast("asyncio.Transport", _Transport(self.transport, self._close))
        self._phase = _Phase.BODY
        self._header_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = _Phase.NOTHING
        self._header_bytes = 0
        self._guests.work(self)
        super().on_message_complete()

    # --- uvicorn ---------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._lingers_until is not None:
            self._unset_keepalive_if_required()
        elif self.transport.is_closing():
            # A client that does not read its answer holds nothing for ever.
            self._stop_timer()
            self._timer = self.loop.call_later(self._limits.body_timeout_s, self.transport.abort)
        if self.cycle.response_complete and not self.pipeline:
            self._guests.rest(self)

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT, msg)

    # --- inside ----------------------------------------------------------------------------------

    def _feed(self, data: memoryview) -> None:
        while data:
            in_body = self._phase is _Phase.BODY
            size = _PIECE_BYTES if in_body else self._limits.header_bytes - self._header_bytes
            piece, data = data[:size], data[size:]
            if not in_body:
                self._header_bytes += len(piece)
            self._body_came = False
            self.parser.feed_data(piece)
            if self._phase is not _Phase.BODY:
                if self._header_bytes >= self._limits.header_bytes:
                    raise _TooLong
            elif in_body and len(piece) == _PIECE_BYTES and not self._body_came:
                # Trailers, or what stands between the chunks.
                raise _TooLong

    def _refuse_header(self) -> None:
        text = f"the header may have at most {self._limits.header_bytes} bytes"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, Code.PAYLOAD_TOO_LARGE, text)

    def _refuse(self, status: HTTPStatus, code: Code, detail: str) -> None:
        """Says why and ends the connection; after the answers to earlier requests, if there are any,
        it only ends."""
        cycle = self.cycle
        is_busy = cycle is not None and not cycle.response_complete
        if is_busy and (self._phase is not _Phase.BODY or self.pipeline):
            self._is_over = True
            self._stop_timer()
            cycle.keep_alive = False
            return
        is_answered = self._phase is _Phase.BODY and cycle.response_started
        if not is_answered:
            self.transport.write(_problem(status, code, detail))
        self._end()

    def _end(self) -> None:
        """Tells the client that nothing more comes, and takes no notice of what it goes on sending."""
        self._is_over = True
        self._stop_timer()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
        # Once more the time that it had.
        seconds = self._seconds(self._phase) or self._limits.body_timeout_s
        self._lingers_until = self.loop.time() + seconds
        self._linger(self._lingers_until)

    def _linger(self, at_most_until: float) -> None:
        self._stop_timer()
        until = min(self.loop.time() + _LINGER_S, at_most_until)
        self._timer = self.loop.call_at(until, self.transport.abort)

    def _close(self) -> None:
        """What was answered is over; the client may be still sending its body."""
        if self._phase is _Phase.BODY and not self.pipeline:
            self._end()
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Sets the timer for what is to come next. It goes on while the same is waited for."""
        if self._is_over:
            return
        phase = self._phase
        if phase is _Phase.NOTHING and self._is_stray:
            phase = _Phase.STRAY
        timed = (phase, self._requests)
        if timed == self._timed:
            return
        self._timed = timed
        self._stop_timer()
        seconds = self._seconds(phase)
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._too_late)

    @property
    def _is_stray(self) -> bool:
        """Whether something came and unset the time for an idle connection, and began no request."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and self.timeout_keep_alive_task is None

    def _seconds(self, phase: _Phase) -> float | None:
        limits = self._limits
        if phase is _Phase.BODY and limits.large_path and self.url.startswith(limits.large_path):
            return limits.large_body_timeout_s
        return {
            _Phase.FIRST_REQUEST: limits.first_request_timeout_s,
            _Phase.HEADER: limits.header_timeout_s,
            _Phase.STRAY: limits.header_timeout_s,
            _Phase.BODY: limits.body_timeout_s,
        }.get(phase)

    def _too_late(self) -> None:
        if self._phase is _Phase.FIRST_REQUEST:
            self._end()
        else:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                Code.DEADLINE_EXCEEDED,
                "the request did not arrive in time",
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Transport:
    """As the answer to one request sees it."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def _problem(status: HTTPStatus, code: Code, detail: str) -> bytes:
    body = msgspec.json.encode(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "code": code.value,
            # For what the client writes down: of a request that was not read nothing is logged.
            "request_id": context.new_request_id(),
        }
    )
    more = "Retry-After: 2\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body
