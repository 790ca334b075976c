"""Spans: what one request or message did where, for a collector of OpenTelemetry.

`Telemetry.Endpoint` turns it on. Without it nothing of OpenTelemetry is imported and no span is made;
a trace is then only the id that logs and calls carry. Whether a trace is recorded is drawn where it
begins (`Telemetry.Sampler`), and its traceparent says so to all others.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Literal, Protocol

from im_common.errors import AppError
from im_common.runtime import context
from im_common.runtime.context import RequestContext
from im_common.runtime.sections import TelemetryConf

Kind = Literal["server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]
OK = "OK"


class Span(Protocol):
    # Its place, for those below it.
    traceparent: str

    def end(self, code: str = OK, name: str = "") -> None:
        """It is over, with one of our codes; ``name`` is a better one than it began with."""


class Maker(Protocol):
    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        attributes: Attributes | None = None,
        links: Sequence[str] = (),
    ) -> Span:
        """A span below ``parent``, or the first of a new trace; ``links`` are others that it has to do
        with. All are given as traceparents."""

    def close(self) -> None:
        """Sends what is left, for some seconds at most. Blocks."""


# None while it is off: what is done for each message looks here first.
maker: Maker | None = None


def start(service: str, conf: TelemetryConf) -> Maker | None:
    """Turns it on when the settings ask for it; to be closed at the end."""
    global maker
    context.sampled_share = conf.sampler if conf.endpoint else 0.0
    if conf.endpoint:
        maker = import_module("im_common.runtime.open_telemetry").Exporting(service, conf)
    return maker


def root(name: str, **attributes: str | int) -> Span | None:
    """The first span of a new trace, if that is one of those to be recorded."""
    if maker is None or random.random() >= context.sampled_share:  # noqa: S311
        return None
    return maker.begin(name, "server", None, attributes)


def serving(name: str, request: RequestContext, parent: str | None) -> Span | None:
    """The span of a request that came with ``parent``, if it is recorded; what the request does is
    below it."""
    if maker is None or not request.is_sampled:
        return None
    is_going_on = parent is not None and request.trace_id in parent
    span = maker.begin(name, "server", parent if is_going_on else None)
    request.traceparent = span.traceparent
    return span


def inside(
    name: str, kind: Kind = "client", **attributes: str | int
) -> AbstractContextManager[str | None]:
    """A span below the current request for as long as the block lasts; gives its traceparent, or None
    when the request is not recorded."""
    if maker is None:
        return _NOTHING
    request = context.current.get()
    if request is None or not request.is_sampled:
        return _NOTHING
    return _Inside(maker.begin(name, kind, request.traceparent, attributes))


class _Inside(AbstractContextManager[str | None]):
    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> str:
        return self._span.traceparent

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._span.end()
        else:
            name = error.code.value if isinstance(error, AppError) else type(error).__name__
            self._span.end(name)


_NOTHING = nullcontext[str | None](None)
