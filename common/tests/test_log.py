"""What operators read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_PROGRAM = """
import logging, sys
from im_common.runtime import log
from im_common.runtime.config import LogConf
log.configure("chat-mq", LogConf())
{body}
"""


def _lines(body: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM.format(body=body)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_library_that_repeats_itself_does_not_hide_the_rest() -> None:
    lines = _lines(
        """
library = logging.getLogger("aiokafka.conn")
for attempt in range(500):
    library.error("attempt %s at %s", attempt, "b1")
library.error("100% lost")
logging.getLogger("another").error("attempt %s at %s", 0, "b1")
log.LIBRARIES_EVERY_S = 0
library.error("attempt %s at %s", 500, "b1")
"""
    )
    assert [line["event"] for line in lines] == [
        "attempt 0 at b1",
        "100% lost",
        "attempt 0 at b1",
        "attempt 500 at b1 (and 499 times before)",
    ]
    assert {(line["service"], line["level"]) for line in lines} == {("chat-mq", "error")}


def test_each_traceback_of_a_library_is_there() -> None:
    lines = _lines(
        """
for fault in (KeyError("one"), ValueError("two")):
    logging.getLogger("uvicorn.error").error("exception", exc_info=fault)
"""
    )
    assert ["one" in lines[0]["exception"], "two" in lines[1]["exception"]] == [True, True]


def test_our_own_lines_are_all_there() -> None:
    lines = _lines(
        """
import structlog
for number in range(50):
    structlog.get_logger("x").warning("stored", number=number)
"""
    )
    assert [line["number"] for line in lines] == list(range(50))
