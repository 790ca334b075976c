"""Streams as rows of calls: each message is a request, answered before the next one is read.

For what is called all the time: a call of its own takes three times as long, on both sides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from im_common.errors import AppError, Code, unavailable
from im_common.rpc.calling import Method, raise_app_error
from im_common.runtime import context, tracing
from im_common.runtime.tasks import is_told_to_end

# Who may call is looked at when a stream begins, and its connection has its own age.
MOST_AGE_S = 30.0


class Exchange(Method, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    """By a stream, for one caller at a time."""

    _stream: grpc.aio.StreamStreamCall[Any, Any] | None = None
    _opened_at = 0.0
    # Whether nobody waits for an answer, as far as is known on the other side.
    is_free = True

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Itself: a stub's method gives what is asked."""
        return self

    async def ask(self, request: Any, *, timeout: float) -> Any:
        """The answer, within so many seconds. Raises AppError: then nothing is known of what was done,
        but when it is UNIMPLEMENTED: the other side has calls only, and is asked no more."""
        assert self.is_free
        self.is_free = False
        started = self._channel.last_used = time.monotonic()
        code, is_over = Code.INTERNAL.value, True
        try:
            with tracing.inside(self._method):
                answer = await self._ask(request, min(timeout, self._channel.timeout_s))
            code, is_over = "OK", False
            return answer
        except AppError as error:
            code = error.code.value
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            if is_told_to_end():
                raise
            raise unavailable("the connection was closed") from None
        finally:
            if is_over:
                self.end()
            self.is_free = code != Code.UNIMPLEMENTED.value
            self._latency.observe(code, time.monotonic() - started)

    def end(self) -> None:
        """The next request begins a stream."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _ask(self, request: Any, limit_s: float) -> Any:
        try:
            async with asyncio.timeout(limit_s):
                stream = await self._open(limit_s)
                await stream.write(request)
                answer = await stream.read()
        except TimeoutError:
            raise AppError(Code.DEADLINE_EXCEEDED, "the request took too long") from None
        except grpc.aio.AioRpcError as error:
            # What grpc itself says of a stream whose other side has gone; a server's has trailers.
            if error.code() is grpc.StatusCode.INTERNAL and not error.trailing_metadata():
                raise unavailable("a service ended during the call") from error
            raise_app_error(self._method, error)
        except asyncio.InvalidStateError:
            raise unavailable("a service ended during the call") from None
        if answer is grpc.aio.EOF:
            raise unavailable("a service ended during the call")
        return answer

    async def _open(self, limit_s: float) -> grpc.aio.StreamStreamCall[Any, Any]:
        real, now = await self._channel.call_ready(limit_s), time.monotonic()
        if self._stream is not None:
            if real is self._real and now - self._opened_at < MOST_AGE_S:
                return self._stream
            self.end()
        method: Any = real.stream_stream(self._method, self._serializer, self._deserializer)
        metadata = grpc.aio.Metadata((context.SERVICE_TOKEN, self._tokens.current()))
        self._real, self._opened_at = real, now
        stream: grpc.aio.StreamStreamCall[Any, Any] = method(metadata=metadata)
        self._stream = stream
        return stream


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
