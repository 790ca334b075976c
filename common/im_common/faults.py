"""Tells a part that is down for a moment from a fault of ours."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from im_common import metrics
from im_common.errors import AppError, unavailable

log = structlog.get_logger(__name__)

# module -> exception names. Looked up in sys.modules, so that a process that uses no SQL need not
# load it.
_OUTAGES: dict[str, tuple[str, ...]] = {
    "redis.exceptions": ("ConnectionError", "TimeoutError", "ReadOnlyError"),
    "sqlalchemy.exc": ("OperationalError", "InterfaceError", "TimeoutError"),
    "im_common.bus": ("BusUnavailable",),
}

_known: dict[type[BaseException], bool] = {}


def as_unavailable(error: BaseException) -> AppError | None:
    """UNAVAILABLE when ``error`` says that the database, Redis or the bus is away; else None."""
    return unavailable("a part of the system is away, try again") if is_outage(error) else None


def is_outage(error: BaseException) -> bool:
    """Whether the same work may succeed later, without any change to it."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if getattr(error, "connection_invalidated", False):
        return True
    kind = type(error)
    if kind not in _known:
        _known[kind] = _is_outage_class(kind)
    return _known[kind]


def report(error: BaseException, event: str, **fields: Any) -> None:
    """Logs what is passed over: one line for an outage or an answer of another service; for a bug of
    ours its traceback, which is counted as ``event``, too."""
    if is_outage(error) or isinstance(error, AppError):
        log.warning(event, error=repr(error), **fields)
    else:
        metrics.FAULTS.labels(event).inc()
        log.error(event, exc_info=error, **fields)


def _is_outage_class(kind: type[BaseException]) -> bool:
    for module_name, names in _OUTAGES.items():
        module = sys.modules.get(module_name)
        if module is not None and any(issubclass(kind, getattr(module, n)) for n in names):
            return True
    return False
