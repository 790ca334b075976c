"""Real servers for the tests of common, and logs that cost little."""

import structlog

from im_common.testing.fixtures import redis, valkey

__all__ = ["redis", "valkey"]

# A traceback with all the values in it takes seconds on a busy machine, in which the loop stands still.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.set_exc_info,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
