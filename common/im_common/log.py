"""Structured logs: one JSON object a line on stderr, with the request and trace they belong to."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from im_common import context
from im_common.config import LogConf


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
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(level, shared, renderer)


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
