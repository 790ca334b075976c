"""The gRPC server of every service.

One interceptor does for each call, in this order: request id and trace, deadline, access, the call
itself, errors, metrics and log. A call of a service that is not in the access table (health and
reflection, which are gRPC's own) passes untouched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import grpc
import structlog

from im.common.v1 import access_pb2
from im.common.v1.process_pb2_grpc import add_ProcessServiceServicer_to_server
from im_common.errors import AppError, Code, to_trailers
from im_common.rpc import process_service
from im_common.rpc.access import Gatekeeper, access_table
from im_common.rpc.channel_options import MAX_MESSAGE_BYTES, METADATA_LIMITS, PINGS_ALLOWED
from im_common.rpc.peer_tls import PeerTls
from im_common.rpc.process_service import ProcessServicer
from im_common.rpc.standard_services import add_standard_services
from im_common.rpc.streams import ServedStreams
from im_common.runtime import context, metrics, tracing
from im_common.runtime.context import RequestContext
from im_common.runtime.faults import as_unavailable
from im_common.runtime.tasks import is_told_to_end

log = structlog.get_logger(__name__)

# Who may connect can change. A connection that is old ends in order: calls go on over a new one, and
# those on it have longer than any may take.
_AGE_LIMITS = [
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 70_000),
]

# For what handlers that are cancelled still have to do, before what they use is closed.
_LAST_WORK_S = 1.0

Call = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Call], Awaitable[Any]]


class RpcServer:
    """Listens, answers and stops in order."""

    def __init__(
        self,
        *,
        listen_on: str,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        gatekeeper: Gatekeeper,
        timeout_ms: int,
        tls: PeerTls | None = None,
    ) -> None:
        """``services`` are the full names; ``register`` adds their servicers; that of the process is
        always there. Without ``tls`` everybody may connect.

        Raises:
            UndeclaredAccess: a method does not say who may call it.
        """
        services = (*services, process_service.SERVICE)
        table = access_table(services)
        self._streams = ServedStreams()
        self._listen_on = listen_on
        self._tls = tls
        self._guard = _Guard(table, gatekeeper, timeout_ms / 1000, self._streams)
        self._server = grpc.aio.server(
            interceptors=[self._guard],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
                *PINGS_ALLOWED,
                *METADATA_LIMITS,
                *(_AGE_LIMITS if tls is not None else ()),
            ],
        )
        register(self._server)
        add_ProcessServiceServicer_to_server(ProcessServicer(), self._server)
        self._health = add_standard_services(self._server, services)
        self.port = 0

    async def start(self) -> None:
        """Listens and reports healthy. Raises RuntimeError when the port is taken."""
        if self._tls is None:
            self.port = self._server.add_insecure_port(self._listen_on)
        else:
            credentials = self._tls.server_credentials()
            self.port = self._server.add_secure_port(self._listen_on, credentials)
        await self._server.start()
        await self._health.start()

    async def report_not_serving(self) -> None:
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, waits for those in flight, at most ``grace_s``, and for what their
        handlers do at their end."""
        self._health.end_watches()
        self._streams.end()
        await self._server.stop(grace_s)
        # It does not wait for handlers whose calls are over
        # (findings/grpcio-asyncio-servers-stop-before-their-handlers-have-ended.sh).
        if self._guard.at_work:
            await asyncio.wait(self._guard.at_work, timeout=_LAST_WORK_S)


class _Guard(grpc.aio.ServerInterceptor):
    def __init__(
        self,
        table: dict[str, access_pb2.Access.ValueType],
        gatekeeper: Gatekeeper,
        timeout_s: float,
        streams: ServedStreams,
    ) -> None:
        self._table = table
        self._gatekeeper = gatekeeper
        self._timeout_s = timeout_s
        self._streams = streams
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.at_work: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or path not in self._table:
            return handler
        if handler.request_streaming:
            make: Any = grpc.stream_stream_rpc_method_handler
            behaviour = self._guard_stream(path, cast("Behaviour", handler.stream_stream))
        else:
            make = grpc.unary_unary_rpc_method_handler
            behaviour = self._guard(path, cast("Behaviour", handler.unary_unary))
        made: grpc.RpcMethodHandler[Any, Any] = make(
            self._known(behaviour), handler.request_deserializer, handler.response_serializer
        )
        self._wrapped[path] = made
        return made

    def _known(self, behaviour: Behaviour) -> Behaviour:
        async def known(message: Any, call: Call) -> Any:
            task = asyncio.current_task()
            assert task is not None
            self.at_work.add(task)
            try:
                return await behaviour(message, call)
            finally:
                self.at_work.discard(task)

        return known

    def _guard(self, path: str, behaviour: Behaviour) -> Behaviour:
        access = self._table[path]

        async def guarded(message: Any, call: Call) -> Any:
            started = time.perf_counter()
            metadata = _metadata_of(call)
            limit_s = call.time_remaining() or self._timeout_s
            request = context.begin(
                request_id=metadata.get(context.REQUEST_ID),
                parent=metadata.get(context.TRACEPARENT),
                deadline=time.monotonic() + limit_s,
            )
            span = tracing.serving(path, request, metadata.get(context.TRACEPARENT))
            code = "OK"
            try:
                async with asyncio.timeout(limit_s) as limit:
                    await self._gatekeeper.admit(access, metadata, request)
                    return await behaviour(message, call)
            except (Exception, asyncio.CancelledError) as caught:
                if isinstance(caught, asyncio.CancelledError) and is_told_to_end():
                    code = "CANCELLED"
                    raise
                error = _to_app_error(caught, timed_out=limit.expired(), path=path)
                code = error.code.value
                await _abort(call, error)
            finally:
                elapsed_s = time.perf_counter() - started
                metrics.RPC_SERVED.labels(path, code).observe(elapsed_s)
                if span is not None:
                    span.end(code)
                _log_call(path, code, elapsed_s, request)

        return guarded

    def _guard_stream(self, path: str, behaviour: Behaviour) -> Behaviour:
        """``behaviour`` answers one of the stream's requests, as of a unary method."""
        access = self._table[path]
        served = metrics.RPC_SERVED.labels(path, "OK")

        async def guarded(_requests: Any, call: Call) -> None:
            started = time.perf_counter()
            metadata = _metadata_of(call)
            request = context.begin(request_id=metadata.get(context.REQUEST_ID))

            async def answer(message: Any) -> Any:
                nonlocal started
                started = time.perf_counter()
                answered = await behaviour(message, call)
                served.observe(time.perf_counter() - started)
                return answered

            try:
                await self._gatekeeper.admit(access, metadata, request)
                await self._streams.serve(call, answer)
            except (Exception, asyncio.CancelledError) as caught:
                if isinstance(caught, asyncio.CancelledError) and is_told_to_end():
                    raise
                error = _to_app_error(caught, timed_out=False, path=path)
                elapsed_s = time.perf_counter() - started
                metrics.RPC_SERVED.labels(path, error.code.value).observe(elapsed_s)
                await _abort(call, error)

        return guarded


def _metadata_of(call: Call) -> dict[str, str]:
    return {k: v for k, v in call.invocation_metadata() or () if isinstance(v, str)}


def _to_app_error(caught: BaseException, *, timed_out: bool, path: str) -> AppError:
    if isinstance(caught, AppError):
        return caught
    if timed_out and isinstance(caught, TimeoutError):
        return AppError(Code.DEADLINE_EXCEEDED, "the request took too long")
    if isinstance(caught, NotImplementedError):
        return AppError(Code.UNIMPLEMENTED, "not available")
    outage = as_unavailable(caught)
    if outage is not None:
        log.warning("a part is away", method=path, error=repr(caught))
        return outage
    metrics.FAULTS.labels(path).inc()
    log.error("unexpected exception", method=path, exc_info=caught)
    return AppError(Code.INTERNAL, "internal error")


async def _abort(call: Call, error: AppError) -> None:
    await call.abort(error.traits.grpc, error.message, to_trailers(error))


def _log_call(path: str, code: str, elapsed_s: float, request: RequestContext) -> None:
    log.debug("rpc", method=path, code=code, ms=round(elapsed_s * 1000, 2), caller=request.service)
