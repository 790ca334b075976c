"""Spans that go to a collector by OTLP. Imported only where the settings ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from im_common.errors import Code
from im_common.runtime.sections import TelemetryConf
from im_common.runtime.tracing import OK, Attributes, Kind

_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
# All other codes of ours say no to something, and are no errors.
_ERRORS = {Code.INTERNAL, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED}
_REFUSALS = {code.value for code in Code if code not in _ERRORS}
# A collector that does not take it in time loses it: nobody waits for it.
_TIMEOUT_S = 2.0
_EVERY_MS = 1000


class Exporting:
    """Makes spans, and sends them once a second from a thread of its own."""

    def __init__(self, service: str, conf: TelemetryConf) -> None:
        self._provider = TracerProvider(
            # Who asks for a span has drawn already.
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": conf.name or service}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(_exporter(conf), schedule_delay_millis=_EVERY_MS)
        )
        self._tracer = self._provider.get_tracer("im")

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        attributes: Attributes | None = None,
        links: Sequence[str] = (),
    ) -> OpenSpan:
        """See Maker."""
        span = self._tracer.start_span(
            name,
            # One that says nothing begins a trace, whatever else is current.
            context=trace.set_span_in_context(
                NonRecordingSpan(_place(parent)) if parent else trace.INVALID_SPAN
            ),
            kind=_KINDS[kind],
            attributes=attributes,
            links=[Link(_place(link)) for link in links],
        )
        return OpenSpan(span)

    def close(self) -> None:
        self._provider.shutdown()


class OpenSpan:
    """One that has begun."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        place = span.get_span_context()
        self.traceparent = f"00-{place.trace_id:032x}-{place.span_id:016x}-01"

    def end(self, code: str = OK, name: str = "") -> None:
        if name:
            self._span.update_name(name)
        if code != OK:
            self._span.set_attribute("im.code", code)
            if code not in _REFUSALS:
                self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


def _place(traceparent: str) -> SpanContext:
    _, trace_id, span_id, _ = traceparent.split("-")[:4]
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(1))


def _exporter(conf: TelemetryConf) -> SpanExporter:
    scheme, _, address = conf.endpoint.rpartition("://")
    if conf.batcher == "otlphttp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

        return Http(f"{scheme or 'http'}://{address}/v1/traces", timeout=_TIMEOUT_S)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

    return Grpc(address, insecure=scheme != "https", timeout=_TIMEOUT_S)
