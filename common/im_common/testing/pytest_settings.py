"""Loaded by pytest (`-p` in `pyproject.toml`) before any test: what a busy machine needs.

Logs that cost little: a traceback with all the values in it, as structlog draws one by itself, takes
seconds then, in which the event loop stands still. And hypothesis without limits of time: the first
text that it makes on a new machine takes some seconds. And an end: a server of gRPC that a test has
left behind holds the interpreter up for ever.
"""

import faulthandler

import pytest
import structlog
from hypothesis import HealthCheck, settings

from im_common.runtime.log import console

# After the last test. It then says where each thread is, and fails.
END_WITHIN_S = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    # What has been said would be lost with the rest of a process that is ended.
    config.get_terminal_writer().flush()
    faulthandler.dump_traceback_later(END_WITHIN_S, exit=True, file=2)


structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.set_exc_info,
        console(),
    ]
)
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
