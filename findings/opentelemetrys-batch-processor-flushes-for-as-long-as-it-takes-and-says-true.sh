#!/usr/bin/env bash
# opentelemetry-sdk 1.45.2, BatchSpanProcessor: force_flush(timeout_millis=500) waits until the exporter has given up,
# seven seconds for one of OTLP whose collector is not there, and returns True, though nothing was exported.
#
# One would expect what is documented: at most so long, and False when that was not enough. But the processor does not
# look at the limit at all, and its answer is True whatever the exporter said. So a function that may be frozen after its
# last line, a job that flushes before it ends, a test that waits for its spans: all of them wait as long as
# the exporter retries, on the event loop too if they are there, and then believe that their spans have arrived. An exporter
# with a timeout of its own (`timeout=1`) is what bounds it.
#
# Seen, no collector on the port: force_flush(500): True after 6.8 s; with OTLPSpanExporter(timeout=1): True
# after 0.9 s. An exporter that always fails: True at once.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cat >"$folder/show.py" <<'PY'
import logging
import socket
import sys
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

LIMIT_MS = 500
logging.disable()


class Failing(SpanExporter):
    def export(self, spans):
        return SpanExportResult.FAILURE


def flush(name, exporter):
    """What force_flush said after one span, and after how many seconds."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("shop").start_as_current_span("order"):
        pass
    started = time.monotonic()
    said = provider.force_flush(timeout_millis=LIMIT_MS)
    taken = time.monotonic() - started
    print(f"{name}: force_flush({LIMIT_MS}) said {said} after {taken:.1f} s")
    provider.shutdown()
    return said, taken


# Bound, so that nobody else takes it, but it listens to nobody.
with socket.socket() as deaf:
    deaf.bind(("127.0.0.1", 0))
    endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/traces"
    failed, _ = flush("an exporter that fails", Failing())
    nobody, taken = flush("no collector", OTLPSpanExporter(endpoint=endpoint))
    flush("no collector, timeout=1", OTLPSpanExporter(endpoint=endpoint, timeout=1))
sys.exit(0 if failed and nobody and taken > 4 * LIMIT_MS / 1000 else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
