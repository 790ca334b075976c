"""What every gRPC channel between our services is made with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_METADATA_BYTES = 16 * 1024
# One limit. By default gRPC has two, and between them refuses some calls at random.
METADATA_LIMITS: list[tuple[str, Any]] = [
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
]
# Of a server. Clients ping to notice a peer that vanished, some also while they have no call; by
# default the fourth within five minutes is abuse, and ends the connection with its calls.
PINGS_ALLOWED: list[tuple[str, Any]] = [
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

_FIXED: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # By default a request of more than 256 KiB is never tried again.
    ("grpc.per_rpc_retry_buffer_size", 2 * MAX_MESSAGE_BYTES),
    *METADATA_LIMITS,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name this bounds one attempt to connect; a refused one is repeated sooner.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.service_config_disable_resolution", 1),
    # How often a peer that a call waits for is asked whether it lives (its transport says so, however
    # busy the process is); not more often than PINGS_ALLOWED.
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What bounds the answer to a ping; keepalive_timeout_ms alone leaves it at a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]
# Together about 1.5 s: longer than an attempt to connect may take to begin and to fail.
_RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "0.8s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# Retries stop while they would only multiply the load on a service that answers nobody.
_RETRY_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.5}
_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def channel_options(
    repeatable: Iterable[str], ping_every_ms: int | None = None
) -> list[tuple[str, Any]]:
    """Options of a balanced channel that retries the methods in ``repeatable``.

    With ``ping_every_ms`` a peer that stands still during a call is missed after three times that.
    """
    options = dict(_FIXED)
    if ping_every_ms is not None:
        options["grpc.keepalive_time_ms"] = ping_every_ms
        options["grpc.keepalive_timeout_ms"] = 2 * ping_every_ms
        options["grpc.http2.ping_timeout_ms"] = 2 * ping_every_ms
    return [*options.items(), ("grpc.service_config", _service_config(repeatable))]


def is_repeatable(method: str) -> bool:
    """Whether the proto of ``/package.Service/Method`` says that a second call does no harm."""
    service, _, name = method.removeprefix("/").partition("/")
    try:
        found = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return False
    return found.GetOptions().idempotency_level in _REPEATABLE


def _service_config(repeatable: Iterable[str]) -> str:
    names = [
        {"service": service, "method": name}
        for service, _, name in (m.removeprefix("/").partition("/") for m in sorted(repeatable))
    ]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRY_POLICY}]
        config["retryThrottling"] = _RETRY_THROTTLING
    return json.dumps(config)
