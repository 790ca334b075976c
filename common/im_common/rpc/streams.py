"""Streams as rows of calls: each message is a request, answered before the next one is read.

For what is called all the time: a call of its own takes three times as long, on both sides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc

from im_common.errors import AppError, Code, unavailable
from im_common.rpc.calling import Method, raise_app_error
from im_common.runtime import context, tracing
from im_common.runtime.tasks import is_told_to_end

# Who may call is looked at when a stream begins, and its connection has its own age.
MOST_AGE_S = 30.0
# Requests on their way at the same time.
MOST_STREAMS = 8


class _Open(NamedTuple):
    """A stream for one request at a time."""

    call: grpc.aio.StreamStreamCall[Any, Any]
    # The channel that it is of.
    real: grpc.aio.Channel
    # time.monotonic()
    opened_at: float


class Exchange(Method, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    """By a stream for each request that is on its way; the next one takes it over."""

    def __init__(self, *about: Any) -> None:
        """``about``: as of a ``Method``."""
        super().__init__(*about)
        # Who was used last comes last.
        self._idle: list[_Open] = []
        self._asked = 0
        self._is_unknown = False

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Itself: a stub's method gives what is asked."""
        return self

    @property
    def is_free(self) -> bool:
        """Whether it takes another request; as far as is known, the other side has it."""
        return self._asked < MOST_STREAMS and not self._is_unknown

    async def ask(self, request: Any, *, timeout: float) -> Any:
        """The answer, within so many seconds. Raises AppError: then nothing is known of what was done,
        but when it is UNIMPLEMENTED: the other side has calls only, and is asked no more."""
        assert self.is_free
        self._asked += 1
        started = self._channel.last_used = time.monotonic()
        code = Code.INTERNAL.value
        try:
            with tracing.inside(self._method):
                answer = await self._ask(request, min(timeout, self._channel.timeout_s))
            code = "OK"
            return answer
        except AppError as error:
            code = error.code.value
            # Another one on its way may fail otherwise: it does not take that back.
            self._is_unknown |= error.code is Code.UNIMPLEMENTED
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            if is_told_to_end():
                raise
            raise unavailable("the connection was closed") from None
        finally:
            self._asked -= 1
            self._latency.observe(code, time.monotonic() - started)

    def end(self) -> None:
        """The next request begins a stream."""
        idle, self._idle = self._idle, []
        for stream in idle:
            stream.call.cancel()

    async def _ask(self, request: Any, limit_s: float) -> Any:
        stream: _Open | None = None
        answer: Any = grpc.aio.EOF
        try:
            async with asyncio.timeout(limit_s):
                stream = self._open(await self._channel.call_ready(limit_s))
                await stream.call.write(request)
                answer = await stream.call.read()
        except TimeoutError:
            raise AppError(Code.DEADLINE_EXCEEDED, "the request took too long") from None
        except grpc.aio.AioRpcError as error:
            # What grpc itself says of a stream whose other side has gone; a server's has trailers.
            if error.code() is grpc.StatusCode.INTERNAL and not error.trailing_metadata():
                raise unavailable("a service ended during the call") from error
            raise_app_error(self._method, error)
        except asyncio.InvalidStateError:
            raise unavailable("a service ended during the call") from None
        finally:
            if answer is not grpc.aio.EOF and stream is not None:
                self._idle.append(stream)
            elif stream is not None:
                # Nobody knows what it would say next, and the others may be no better.
                stream.call.cancel()
                self.end()
        if answer is grpc.aio.EOF:
            raise unavailable("a service ended during the call")
        return answer

    def _open(self, real: grpc.aio.Channel) -> _Open:
        now = time.monotonic()
        while self._idle:
            stream = self._idle.pop()
            if stream.real is real and now - stream.opened_at < MOST_AGE_S:
                return stream
            stream.call.cancel()
        method: Any = real.stream_stream(self._method, self._serializer, self._deserializer)
        metadata = grpc.aio.Metadata((context.SERVICE_TOKEN, self._tokens.current()))
        return _Open(method(metadata=metadata), real, now)


class ServedStreams:
    """Those that a server has open."""

    def __init__(self) -> None:
        self._is_ending = False
        # Those that wait for a request.
        self._reading: set[asyncio.Task[Any]] = set()

    async def serve(self, call: Any, answer: Callable[[Any], Awaitable[Any]]) -> None:
        """Until one of both sides ends it."""
        me = asyncio.current_task()
        assert me is not None
        while not self._is_ending:
            self._reading.add(me)
            try:
                request = await call.read()
            except asyncio.CancelledError:
                # A handler that is cancelled sends no status.
                if self._is_ending:
                    return
                raise
            finally:
                self._reading.discard(me)
            if request is grpc.aio.EOF:
                return
            await call.write(await answer(request))

    def end(self) -> None:
        """Each ends when what is in hand is answered. An open one would hold the server's stop for its
        whole grace."""
        self._is_ending = True
        for task in self._reading:
            task.cancel()
