"""Metrics that several parts count; /metrics shows them.

docs/operations.md says what each is for. What every message passes is counted by `tallies`.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from im_common.runtime.tallies import HistogramTally

# When each sample was first counted: nobody asks, and it is a quarter of all.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STORE_S = (0.0005, *_LATENCY_S)
# Of a message's way: also what is late by a backlog.
_MESSAGE_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

RPC_SERVED = Histogram(
    "im_rpc_server_seconds", "Time of served calls", ["method", "code"], buckets=_LATENCY_S
)
RPC_CALLED = Histogram(
    "im_rpc_client_seconds",
    "Time of calls to other services",
    ["method", "code"],
    buckets=_LATENCY_S,
)
RPC_CERTIFICATE_EXPIRY = Gauge(
    "im_rpc_certificate_expiry_timestamp_seconds",
    "When what is shown to other services runs out; 0 without TLS",
)
FAULTS = Counter("im_faults_total", "Unexpected exceptions", ["where"])
EVENT_LOOP_DELAY = Histogram(
    "im_event_loop_delay_seconds", "How long work waits for its turn", buckets=_LATENCY_S
)
DATABASE = Histogram(
    "im_database_seconds", "Time of queries and of transactions", ["work"], buckets=_STORE_S
)
REDIS = Histogram(
    "im_redis_seconds", "Time of commands, and of pipelines of them", ["command"], buckets=_STORE_S
)

IN_FLIGHT = Gauge("im_messages_in_flight", "Messages without an answer yet")
REFUSED = Counter("im_messages_refused_total", "Messages that were to be sent again", ["why"])
ANSWERED = HistogramTally(
    "im_message_answer_seconds", "From a message's arrival to its answer", _MESSAGE_S
)
DELIVERED = HistogramTally(
    "im_message_delivery_seconds",
    "From a message's arrival to when all gateways of its receivers have it",
    _MESSAGE_S,
)
CONNECTIONS = Gauge("im_connections", "WebSockets that are open")
CONNECTION_QUEUES = Gauge("im_connection_queued_frames", "Frames that wait for their sockets")
CONNECTION_QUEUE = Gauge("im_connection_longest_queue_frames", "Those of the slowest connection")
CONNECTIONS_ENDED = Counter("im_connections_ended_total", "WebSockets that we ended", ["code"])

OUTBOX_RECORDS = Gauge(
    "im_outbox_records", "Records that wait for the bus; 10,000 stands for more, too"
)
OUTBOX_AGE = Gauge("im_outbox_oldest_seconds", "How long the oldest of them has waited")
OUTBOX_RELAYED = Counter("im_outbox_relayed_total", "Records that the bus has confirmed")

BUS_BUFFERED = Gauge("im_bus_buffered_records", "Records that are not safe in the log yet")
BUS_LAG = Gauge("im_bus_lag_records", "Records not yet committed", ["topic", "group"])
BUS_BATCH = Histogram("im_bus_batch_records", "Records of a batch", ["topic"], buckets=_RECORDS)
BUS_STAGE = Histogram(
    "im_bus_stage_seconds",
    "Time of a batch's first stage (judged and stored) and second (delivered)",
    ["topic", "stage"],
    buckets=_LATENCY_S,
)
DEAD_LETTERS = Counter("im_dead_letters_total", "Records that nobody can work on", ["topic"])

OFFLINE_LIST = Histogram(
    "im_offline_list_frames", "Length of an offline list that grows", buckets=_RECORDS
)
OFFLINE_DROPPED = Counter("im_offline_dropped_total", "Frames that fell out of a full offline list")
