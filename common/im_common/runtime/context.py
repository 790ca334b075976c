"""What travels with a request through all services: who asks, its id, its trace, its deadline."""

from __future__ import annotations

import random
import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass

# Metadata keys of our gRPC calls, and headers of our HTTP and bus messages.
AUTHORIZATION = "authorization"
SERVICE_TOKEN = "x-im-service-token"
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
CLIENT_ADDRESS = "x-im-client-address"

_ODD = frozenset("13579bdf")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a verified access token speaks for."""

    user_id: int
    session_id: str
    device_id: str
    platform: str
    expires_at_ms: int


@dataclass(slots=True)
class RequestContext:
    """One request, from its entry to the last service it reaches."""

    request_id: str
    traceparent: str
    # time.monotonic() seconds; None when nobody set a limit.
    deadline: float | None = None
    identity: Identity | None = None
    # The user's own token, passed on to services that act for the user.
    user_token: str | None = None
    # The service that called, when it proved itself.
    service: str | None = None
    # The client's network address, as the gateway saw it.
    client_address: str = ""

    @property
    def is_sampled(self) -> bool:
        """Whether its trace is recorded."""
        return is_recorded(self.traceparent)

    @property
    def trace_id(self) -> str:
        return self.traceparent.split("-")[1]

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


current: ContextVar[RequestContext | None] = ContextVar("im_request", default=None)
# Of the traces that begin in this process, how many are recorded (`tracing`).
sampled_share = 0.0


def is_recorded(traceparent: str) -> bool:
    """Whether somebody has seen to it that the trace is."""
    return traceparent[-1:] in _ODD and bool(_trace_of(traceparent)[0])


def new_request_id() -> str:
    return secrets.token_hex(8)


def new_traceparent(parent: str | None = None, *, is_sampled: bool = False) -> str:
    """A W3C trace context for a new piece of work: the parent's trace with a span id of our own.

    A missing or malformed parent starts a new trace, which is recorded if ``is_sampled``. Source: W3C
    Trace Context, section 3.2.
    """
    trace_id, flags = _trace_of(parent) if parent else ("", "")
    if not trace_id:
        trace_id, flags = _hex(16), "01" if is_sampled else "00"
    return f"00-{trace_id}-{_hex(8)}-{flags}"


def _trace_of(parent: str) -> tuple[str, str]:
    """Its trace and its flags; an empty trace for what is none. (OpenTelemetry's own reading takes as
    long as all else that begins a request.)"""
    found = _TRACEPARENT.fullmatch(parent.strip())
    if found is None:
        return "", ""
    version, trace_id, span_id, flags, more = found.groups()
    is_known = (version == "00" and not more) or version not in ("00", "ff")
    if not is_known or not int(trace_id, 16) or not int(span_id, 16):
        return "", ""
    return trace_id, f"{int(flags, 16) & 1:02x}" if version != "00" else flags


def _hex(size: int) -> str:
    """So many random bytes, not all of them 0."""
    return f"{secrets.randbits(8 * size) or 1:0{2 * size}x}"


def begin(
    *,
    request_id: str | None = None,
    parent: str | None = None,
    deadline: float | None = None,
    is_from_outside: bool = False,
) -> RequestContext:
    """Makes the current request of this task (and of the tasks it starts) and returns it. One
    ``is_from_outside`` keeps its caller's trace, but whether that is recorded is not for its caller to
    say."""
    is_sampled = sampled_share > 0 and random.random() < sampled_share  # noqa: S311
    traceparent = new_traceparent(parent, is_sampled=is_sampled)
    if is_from_outside:
        traceparent = f"{traceparent[:-2]}{'01' if is_sampled else '00'}"
    request = RequestContext(
        request_id=request_id if request_id and _usable(request_id) else new_request_id(),
        traceparent=traceparent,
        deadline=deadline,
    )
    current.set(request)
    return request


def identity() -> Identity:
    """The verified user of the current request; only for methods with ACCESS_USER."""
    request = current.get()
    if request is None or request.identity is None:
        raise RuntimeError("no verified user: the method must declare ACCESS_USER")
    return request.identity


def _usable(request_id: str) -> bool:
    # A caller's id goes into logs and headers: only short, plain ones are taken.
    return _PLAIN.fullmatch(request_id) is not None
