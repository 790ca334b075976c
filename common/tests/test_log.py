"""What operators read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import structlog

_PROGRAM = """
import logging, sys
from im_common.runtime import log
from im_common.runtime.sections import LogConf
log.configure("chat-mq", LogConf(encoding="{encoding}"))
{body}
"""


# What a traceback with the values of its frames would show.
_FAILS = """
value = "of a" + " variable"
try:
    raise ValueError("a bug")
except ValueError:
    structlog.get_logger("x").exception("failed")
"""


def _output(body: str, encoding: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM.format(body=body, encoding=encoding)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stderr


def _lines(body: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _output(body, "json").splitlines()]


def test_a_traceback_for_people_is_plain() -> None:
    shown = _output(f"import structlog\n{_FAILS}", "plain")
    assert "ValueError: a bug" in shown
    assert "of a variable" not in shown
    # Of a processor that formats what the next one would.
    assert "UserWarning" not in shown


def test_a_traceback_in_a_test_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    exec(_FAILS, {"structlog": structlog})
    shown = capsys.readouterr().out
    assert "ValueError: a bug" in shown
    assert "of a variable" not in shown


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
