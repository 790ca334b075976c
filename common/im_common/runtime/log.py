"""Structured logs: one JSON object a line on stderr, with the request and trace they belong to."""

from __future__ import annotations

import logging
import sys
import time

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from im_common.runtime import context
from im_common.runtime.sections import LogConf

# A library says the same no more often than this.
LIBRARIES_EVERY_S = 10.0
_MOST_TEXTS = 1000


def configure(service: str, conf: LogConf) -> None:
    """Sets up structlog and the standard library's logging, once for each process."""
    level = getattr(logging, conf.level.upper())

    def add_service(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_request,
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if conf.encoding == "json"
        else console()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(level, shared, renderer)


def console() -> Processor:
    """Lines for people. Tracebacks are plain: with the values of all frames they take seconds."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _add_request(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    request = context.current.get()
    if request is not None:
        event.setdefault("request_id", request.request_id)
        event.setdefault("trace_id", request.trace_id)
        if request.identity is not None:
            event.setdefault("user_id", request.identity.user_id)
    return event


def _route_standard_logging(level: int, shared: list[Processor], renderer: Processor) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_Sparse())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    # Chatty or misleading at their own levels: asyncmy warns of each row that INSERT IGNORE skips,
    # aiokafka of each retry, websockets and uvicorn of each connection.
    for name, own_level in {
        "asyncmy": logging.ERROR,
        "aiokafka": logging.ERROR,
        "websockets": logging.ERROR,
        "uvicorn.access": logging.ERROR,
        "uvicorn.error": logging.WARNING,
        "alembic": logging.WARNING,
    }.items():
        logging.getLogger(name).setLevel(own_level)


class _Sparse(logging.Filter):
    """Passes what a library says, whatever its arguments, once in a while: aiokafka tells of each
    attempt to reach a broker that is away, a hundred times a second. Tracebacks always pass: under
    one text they may be of different faults."""

    def __init__(self) -> None:
        super().__init__()
        # Logger, level and text before its arguments are filled in -> when it passed
        # (time.monotonic() seconds), and how often it has not since.
        self._passed: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            return True
        now, key = time.monotonic(), (record.name, record.levelno, str(record.msg))
        passed_at, dropped = self._passed.get(key, (-LIBRARIES_EVERY_S, 0))
        if now - passed_at < LIBRARIES_EVERY_S:
            self._passed[key] = (passed_at, dropped + 1)
            return False
        if len(self._passed) >= _MOST_TEXTS:
            self._passed.clear()
        self._passed[key] = (now, 0)
        if dropped:
            record.msg = f"{record.msg} (and {dropped} times before)"
        return True
