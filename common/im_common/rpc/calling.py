"""One call to another service: its deadline, what it carries, what its failure means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from prometheus_client import Histogram

from im_common.errors import AppError, Code, from_rpc_error, unavailable
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import context, metrics, tracing
from im_common.runtime.tasks import is_told_to_end

if TYPE_CHECKING:
    from im_common.rpc.client import BalancedChannel

log = structlog.get_logger(__name__)


class Latency:
    """How long the calls of a method take, by their outcomes."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._by_code: dict[str, Histogram] = {}

    def observe(self, code: str, elapsed_s: float) -> None:
        found = self._by_code.get(code)
        if found is None:
            found = self._by_code[code] = metrics.RPC_CALLED.labels(self._method, code)
        found.observe(elapsed_s)


class Method:
    """One method, to be called on whatever gRPC channel there is now."""

    def __init__(
        self,
        channel: BalancedChannel,
        tokens: ServiceTokens,
        method: str,
        serializer: Callable[[Any], bytes] | None,
        deserializer: Callable[[bytes], Any] | None,
    ) -> None:
        self._channel = channel
        self._tokens = tokens
        self._method = method
        self._serializer = serializer
        self._deserializer = deserializer
        self._real: grpc.aio.Channel | None = None
        self._latency = Latency(method)


class Caller(Method, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """By a call for each request."""

    _call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] | None = None

    async def __call__(  # type: ignore[override]
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        wait_for_ready: bool | None = None,
        **_unused: Any,
    ) -> Any:
        started = self._channel.last_used = time.monotonic()
        code = Code.INTERNAL.value
        try:
            answer = await self._attempt(request, started, timeout, metadata, wait_for_ready)
            code = "OK"
            return answer
        except AppError as error:
            code = error.code.value
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        finally:
            self._latency.observe(code, time.monotonic() - started)

    async def _attempt(
        self,
        request: Any,
        started: float,
        timeout: float | None,
        extra: Iterable[tuple[str, str | bytes]] | None,
        wait_for_ready: bool | None,
    ) -> Any:
        current = context.current.get()
        limit_s = self._limit_s(current, timeout)
        channel = await self._channel.call_ready(limit_s)
        if channel is not self._real:
            self._call = channel.unary_unary(self._method, self._serializer, self._deserializer)
            self._real = channel
        assert self._call is not None
        limit_s = max(0.0, limit_s - (time.monotonic() - started))
        try:
            with tracing.inside(self._method) as traceparent:
                return await self._call(
                    request,
                    timeout=limit_s,
                    metadata=self._metadata(current, traceparent, extra),
                    wait_for_ready=wait_for_ready,
                )
        except grpc.aio.AioRpcError as error:
            raise_app_error(self._method, error)
        except asyncio.CancelledError:
            if is_told_to_end():
                raise
            # The gRPC channel was closed under the call; nobody cancelled this task, and it must
            # not look so: a TaskGroup would swallow it.
            raise unavailable("the connection was closed") from None

    def _limit_s(self, current: context.RequestContext | None, timeout: float | None) -> float:
        limit_s = self._channel.timeout_s if timeout is None else timeout
        limit_s = min(limit_s, self._channel.timeout_s)
        remaining_s = current.remaining_s() if current is not None else None
        if remaining_s is not None and remaining_s < limit_s:
            limit_s = remaining_s
        if limit_s <= 0:
            raise AppError(Code.DEADLINE_EXCEEDED, "the request took too long")
        return limit_s

    def _metadata(
        self,
        current: context.RequestContext | None,
        traceparent: str | None,
        extra: Iterable[tuple[str, str | bytes]] | None,
    ) -> grpc.aio.Metadata:
        pairs: list[Any] = [(context.SERVICE_TOKEN, self._tokens.current())]
        if current is not None:
            pairs.append((context.REQUEST_ID, current.request_id))
            pairs.append((context.TRACEPARENT, traceparent or current.traceparent))
            if current.user_token:
                pairs.append((context.AUTHORIZATION, f"Bearer {current.user_token}"))
            if current.client_address:
                pairs.append((context.CLIENT_ADDRESS, current.client_address))
        if extra:
            pairs.extend(extra)
        return grpc.aio.Metadata(*pairs)


def raise_app_error(method: str, error: grpc.aio.AioRpcError) -> NoReturn:
    """What a failed call means."""
    # CANCELLED is what a peer says that stops in the middle of a call.
    if error.code() is grpc.StatusCode.CANCELLED:
        raise unavailable("a service ended during the call") from error
    told = from_rpc_error(error)
    if told.code is Code.INTERNAL and error.code() is not grpc.StatusCode.INTERNAL:
        log.error("a status that is not ours", method=method, status=error.code().name)
    raise told from error
