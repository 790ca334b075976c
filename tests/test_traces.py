"""One message's spans, from its sender's frame to the gateway of its receiver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from im_clients import People, until
from im_people import Device, register

from im_client import State
from im_common.testing.collector import Collector, Seen, grpc_collector
from im_local.paths import ROOT
from im_local.testing import System


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with grpc_collector() as collector:
        yield collector


@pytest.fixture
async def traced(tmp_path: Path, collector: Collector) -> AsyncIterator[System]:
    """A system of its own, that records all traces."""
    env = {"IM_TELEMETRY__ENDPOINT": collector.address, "IM_BCRYPT_COST": "4"}
    async with System.start(tmp_path, env=env) as running:
        yield running


def of_trace(spans: list[Seen], trace_id: str) -> dict[str, Seen]:
    return {f"{s.service}: {s.name}": s for s in spans if s.trace_id == trace_id}


def is_whole(spans: dict[str, Seen]) -> bool:
    """Processes send their spans each for itself, when they are over."""
    ids = {"", *(span.span_id for span in spans.values())}
    return all(span.parent_id in ids for span in spans.values())


def below(span: Seen, spans: dict[str, Seen]) -> list[str]:
    """The names of those above it, the first of the trace last."""
    by_id = {other.span_id: (name, other) for name, other in spans.items()}
    names = []
    while span.parent_id:
        name, span = by_id[span.parent_id]
        names.append(name)
    return names


async def test_one_trace_has_a_message_from_its_frame_to_its_receivers_gateway(
    traced: System, collector: Collector
) -> None:
    async with People(traced) as people:
        ann, bob = await people.new(), await people.new()
        await until(bob, lambda: bob.client.state is State.ONLINE)
        for text in ("first", "second"):
            await ann.say(ann.chat_with(bob), text)
        await until(bob, lambda: len(bob.shown) == 2)
        body = {"to": bob.id, "content": "third", "client_msg_id": "h-1"}
        await ann.client.http.post("/v1/messages", body)
        await until(bob, lambda: len(bob.shown) == 3)

    def roots(spans: list[Seen], name: str) -> list[str]:
        return [s.trace_id for s in spans if s.name == name and not s.parent_id]

    def complete(spans: list[Seen], name: str, count: int) -> bool:
        traces = [of_trace(spans, trace_id) for trace_id in roots(spans, name)]
        return count == sum("ws-gateway: hand over" in t and is_whole(t) for t in traces)

    route = "POST /v1/messages"
    await collector.wait_for(lambda s: complete(s, "chat frame", 2) and complete(s, route, 1))
    for trace_id in roots(collector.spans, "chat frame"):
        trace = of_trace(collector.spans, trace_id)
        place, deliver = trace["chat-mq: place"], trace["chat-mq: deliver"]
        assert below(place, trace) == below(deliver, trace) == ["ws-gateway: chat frame"]
        assert below(trace["chat-mq: database write"], trace)[0] == "chat-mq: place"
        assert below(trace["ws-gateway: hand over"], trace)[0] == "chat-mq: deliver"
        assert place.attributes == {"topic": "im-chat-topic", "batch": 1}
    (trace_id,) = roots(collector.spans, route)
    trace = of_trace(collector.spans, trace_id)
    assert below(trace["ws-gateway: hand over"], trace)[-1] == f"api-gateway: {route}"
    assert "chat-service: bus publish" in below(trace["chat-mq: place"], trace)
    assert not any(span.is_error for span in trace.values())


async def test_messages_of_one_batch_have_their_own_traces(
    traced: System, collector: Collector
) -> None:
    """Their spans link to that of the first, which has what was done for all of them."""
    async with httpx.AsyncClient(base_url=traced.ready.api, verify=False) as http:
        a, b = await register(http), await register(http)
        async with await Device.connect(traced.any_ws(), a) as device:
            for number in range(40):
                await device.send(
                    type="chat", to=b.user_id, content="x", client_msg_id=f"c-{number}"
                )
            await device.wait_count("sent", 40)
    placed: list[Seen] = []

    def all_placed(spans: list[Seen]) -> bool:
        placed[:] = [span for span in spans if span.name == "place"]
        return len(placed) == 40

    await collector.wait_for(all_placed)
    assert len({span.trace_id for span in placed}) == 40
    by_id = {span.span_id: span for span in placed}
    linked = [span for span in placed if span.links]
    assert linked
    for span in linked:
        (first,) = (by_id[link] for link in span.links)
        assert not first.links
        assert first.attributes["batch"] == span.attributes["batch"] > 1


@pytest.mark.parametrize("module", ["ws_gateway.server", "chat_service.mq.worker"])
def test_a_process_without_a_collector_imports_nothing_that_makes_spans(module: str) -> None:
    program = (
        f"import sys, {module}; from im_common.runtime import tracing, sections;"
        "assert tracing.start('x', sections.TelemetryConf()) is None;"
        # (Redis' client imports what OpenTelemetry has for metrics wherever it is installed.)
        "spans = 'opentelemetry.sdk.trace', 'opentelemetry.exporter', 'opentelemetry.proto';"
        "print([name for name in sys.modules if name.startswith(spans)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
