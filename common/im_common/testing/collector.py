"""A collector of spans for a test, as OpenTelemetry's own takes them: by gRPC or by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from im_common.runtime.dev_server import EmbeddedServer, listening_socket


@dataclass(frozen=True)
class Seen:
    """A span that came. All ids are hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    # Empty for the first of its trace.
    parent_id: str
    # Of other spans.
    links: frozenset[str]
    is_error: bool
    # Unix time (s).
    began: float
    ended: float
    attributes: dict[str, Any] = field(hash=False)


class Collector:
    def __init__(self) -> None:
        # host:port, once it listens.
        self.address = ""
        self.spans: list[Seen] = []
        self._changed = asyncio.Condition()

    async def take(self, request: ExportTraceServiceRequest) -> None:
        async with self._changed:
            self.spans += _read(request)
            self._changed.notify_all()

    async def wait_for(self, wanted: Callable[[list[Seen]], bool], limit_s: float = 30) -> None:
        """Until all spans together are as wanted. Raises AssertionError."""
        try:
            async with asyncio.timeout(limit_s), self._changed:
                await self._changed.wait_for(lambda: wanted(self.spans))
        except TimeoutError:
            had = sorted({f"{span.service}: {span.name}" for span in self.spans})
            raise AssertionError(f"not seen within {limit_s} s; had {had}") from None


@asynccontextmanager
async def grpc_collector(at: str = "127.0.0.1:0") -> AsyncIterator[Collector]:
    """Listens ``at`` an address, host:port; at a free port unless it says another."""
    collector = Collector()

    class Servicer(TraceServiceServicer):
        async def Export(self, request: ExportTraceServiceRequest, _: Any) -> Any:
            await collector.take(request)
            return ExportTraceServiceResponse()

    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    collector.address = f"127.0.0.1:{server.add_insecure_port(at)}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


@asynccontextmanager
async def http_collector() -> AsyncIterator[Collector]:
    collector = Collector()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body, is_more = body + message["body"], message.get("more_body", False)
        assert scope["path"] == "/v1/traces"
        await collector.take(ExportTraceServiceRequest.FromString(body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server = EmbeddedServer(uvicorn.Config(app, lifespan="off", log_config=None))
    listener = listening_socket("127.0.0.1:0")
    collector.address = f"127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield collector
    finally:
        server.should_exit = True
        await serving


def _read(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        about = {item.key: item.value.string_value for item in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service=about["service.name"],
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    links=frozenset(link.span_id.hex() for link in span.links),
                    is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                    began=span.start_time_unix_nano / 1e9,
                    ended=span.end_time_unix_nano / 1e9,
                    attributes={
                        item.key: item.value.string_value or item.value.int_value
                        for item in span.attributes
                    },
                )
