"""Spans on their way to a collector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from im_common.errors import AppError, Code
from im_common.runtime import context, tracing
from im_common.runtime.sections import TelemetryConf
from im_common.testing.collector import Collector, grpc_collector, http_collector
from im_common.testing.ports import free_port


@pytest.fixture(autouse=True)
def off_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tracing, "maker", None)
    monkeypatch.setattr(context, "sampled_share", 0.0)
    yield
    context.current.set(None)


@pytest.fixture(
    params=[("otlpgrpc", grpc_collector), ("otlphttp", http_collector)], ids=lambda p: p[0]
)
async def collector(request: pytest.FixtureRequest) -> AsyncIterator[Collector]:
    """With the tracing that sends to it."""
    batcher, opened = request.param
    async with opened() as collector:
        conf = TelemetryConf(name="me", endpoint=collector.address, batcher=batcher)
        assert tracing.start("other", conf) is not None
        yield collector


async def flush() -> None:
    assert tracing.maker is not None
    await asyncio.to_thread(tracing.maker.close)


async def test_a_request_and_what_it_does_are_one_trace(collector: Collector) -> None:
    request = context.begin()
    span = tracing.serving("ask", request, None)
    assert span is not None
    with tracing.inside("query", rows=3) as traceparent:
        assert traceparent is not None
        assert traceparent.split("-")[1] == request.trace_id
    span.end()
    await flush()
    query, ask = collector.spans
    assert (ask.service, ask.name, ask.parent_id) == ("me", "ask", "")
    assert (query.name, query.parent_id, query.attributes) == ("query", ask.span_id, {"rows": 3})
    assert ask.trace_id == query.trace_id == request.trace_id


async def test_a_callers_span_is_above_the_request(collector: Collector) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    span = tracing.serving("ask", context.begin(parent=parent), parent)
    assert span is not None
    span.end()
    await flush()
    (seen,) = collector.spans
    assert (seen.trace_id, seen.parent_id) == tuple(parent.split("-")[1:3])


async def test_an_outage_is_an_error_and_a_refusal_is_an_answer(collector: Collector) -> None:
    context.begin()
    for code in (Code.UNAVAILABLE, Code.BLOCKED):
        with pytest.raises(AppError), tracing.inside("ask"):
            raise AppError(code, "no")
    with pytest.raises(ConnectionError), tracing.inside("ask"):
        raise ConnectionError("an address")
    await flush()
    assert [(span.is_error, span.attributes["im.code"]) for span in collector.spans] == [
        (True, "UNAVAILABLE"),
        (False, "BLOCKED"),
        (True, "ConnectionError"),
    ]


async def test_what_is_not_recorded_makes_no_span(collector: Collector) -> None:
    context.sampled_share = 0.0
    assert tracing.root("frame") is None
    request = context.begin()
    assert tracing.serving("ask", request, None) is None
    with tracing.inside("query") as traceparent:
        assert traceparent is None
    await flush()
    assert collector.spans == []


async def test_a_collector_that_is_away_holds_the_end_up_for_seconds_at_most() -> None:
    tracing.start("me", TelemetryConf(endpoint=f"127.0.0.1:{free_port()}"))
    span = tracing.root("frame")
    assert span is not None
    span.end()
    began = time.monotonic()
    await flush()
    assert time.monotonic() - began < 10
