"""Loaded by pytest (`-p` in `pyproject.toml`) before any test: logs that cost little.

A traceback with all the values in it, as structlog draws one by itself, takes seconds on a busy
machine, in which the event loop stands still.
"""

import structlog

from im_common.runtime.log import console

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.set_exc_info,
        console(),
    ]
)
