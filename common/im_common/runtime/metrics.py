"""Metrics that several parts count; /metrics shows them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

RPC_SERVED = Histogram(
    "im_rpc_server_seconds", "Time of served calls", ["method", "code"], buckets=_LATENCY_S
)
RPC_CALLED = Histogram(
    "im_rpc_client_seconds",
    "Time of calls to other services",
    ["method", "code"],
    buckets=_LATENCY_S,
)
FAULTS = Counter("im_faults_total", "Unexpected exceptions", ["where"])
IN_FLIGHT = Gauge("im_messages_in_flight", "Messages without an answer yet")
REFUSED = Counter("im_messages_refused_total", "Messages that were to be sent again", ["why"])
CONNECTIONS = Gauge("im_connections", "WebSockets that are open")
CONNECTIONS_ENDED = Counter("im_connections_ended_total", "WebSockets that we ended", ["code"])
OUTBOX_RECORDS = Gauge(
    "im_outbox_records", "Records that wait for the bus; 10,000 stands for more, too"
)
OUTBOX_AGE = Gauge("im_outbox_oldest_seconds", "How long the oldest of them has waited")
OUTBOX_RELAYED = Counter("im_outbox_relayed_total", "Records that the bus has confirmed")
