"""Tells a part that is down for a moment from a fault of ours."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from im_common.errors import AppError, unavailable
from im_common.runtime import metrics

log = structlog.get_logger(__name__)

# module -> exception names. Looked up in sys.modules, so that a process that uses no SQL need not
# load it.
_OUTAGES: dict[str, tuple[str, ...]] = {
    "redis.exceptions": (
        *("ConnectionError", "TimeoutError", "ReadOnlyError"),
        # A cluster whose slots are on their way, or without a master for some.
        *("ClusterError", "TryAgainError", "SlotNotCoveredError"),
    ),
    "sqlalchemy.exc": ("OperationalError", "InterfaceError", "TimeoutError"),
    "im_common.bus": ("BusUnavailable",),
}

# What a server says when it, or what it stands on, is not as it should be; the statement is not to
# blame. By name in https://mariadb.com/kb/en/mariadb-error-code-reference/.
_MYSQL_OUTAGES = frozenset(
    (
        *(1020, 1205, 1213, 1614),  # another transaction was in the way
        *(
            1021,
            1026,
            1030,
            1037,
            1038,
            1041,
            1114,
            1135,
            1181,
            1180,
        ),  # no room, no memory, no disk
        *(1040, 1129, 1203, 1226),  # too many connections
        *(1042, 1043, 1053, 1077, 1079, 1080, 1105, 1152, 1153, 1154, 1155, 1156, 1157),  # it ends
        *(1158, 1159, 1160, 1161, 1184, 1189, 1190, 1218, 1927, 4031),  # the network
        *(1044, 1045, 1049, 1130, 1142, 1146, 1227, 1698),  # not set up, or not for us, yet
        *(1047, 1223, 1290, 1792, 1836, 3032, 3100, 3101),  # read-only, or no part of its cluster
        *(1317, 1969, 3024),  # stopped, or too late
    )
)
# What a Redis says that has lost its replicas, or is a master no more; their errors have no class.
_REDIS_OUTAGES = ("NOREPLICAS", "UNBLOCKED", "NOMASTERLINK")
# Of its client: the connection.
_MYSQL_CLIENT = range(2000, 3000)

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
    number = _mysql_number(error)
    if number is not None:
        return number in _MYSQL_OUTAGES or number in _MYSQL_CLIENT
    kind = type(error)
    if kind not in _known:
        _known[kind] = _is_outage_class(kind)
    return _known[kind] or (
        kind.__module__ == "redis.exceptions" and any(word in str(error) for word in _REDIS_OUTAGES)
    )


def report(error: BaseException, event: str, **fields: Any) -> None:
    """Logs what is passed over: one line for an outage or an answer of another service; for a bug of
    ours its traceback, which is counted as ``event``, too."""
    if is_outage(error) or isinstance(error, AppError):
        log.warning(event, error=repr(error), **fields)
    else:
        metrics.FAULTS.labels(event).inc()
        log.error(event, exc_info=error, **fields)


def _mysql_number(error: BaseException) -> int | None:
    """Of what MariaDB, MySQL or its client says; None for anything else. asyncmy makes nearly all of
    them an OperationalError, also what comes again each time, such as a text that a column cannot
    be compared with."""
    args = getattr(getattr(error, "orig", None), "args", ())
    return args[0] if args and type(args[0]) is int else None


def _is_outage_class(kind: type[BaseException]) -> bool:
    for module_name, names in _OUTAGES.items():
        module = sys.modules.get(module_name)
        if module is not None and any(issubclass(kind, getattr(module, n)) for n in names):
            return True
    return False
