"""The trace that a request belongs to."""

from __future__ import annotations

import re

import pytest

from im_common.runtime import context
from im_common.runtime.context import new_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_request_without_a_trace_begins_one() -> None:
    made = {new_traceparent() for _ in range(100)}
    assert len(made) == 100
    for one in made:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", one)


def test_of_the_traces_that_begin_here_so_many_are_recorded_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for share in (0.0, 0.5, 1.0):
        monkeypatch.setattr(context, "sampled_share", share)
        recorded = sum(context.begin().is_sampled for _ in range(1000))
        assert 1000 * share - 100 <= recorded <= 1000 * share + 100


def test_a_client_does_not_say_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = f"00-{TRACE}-{SPAN}-01"
    assert context.begin(parent=parent).is_sampled
    for share in (0.0, 1.0):
        monkeypatch.setattr(context, "sampled_share", share)
        request = context.begin(parent=parent, is_from_outside=True)
        assert (request.trace_id, request.is_sampled) == (TRACE, share == 1.0)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_request_goes_on_with_its_callers_trace_under_a_span_of_its_own(flags: str) -> None:
    version, trace, span, kept = new_traceparent(f"00-{TRACE}-{SPAN}-{flags}").split("-")
    assert (version, trace, kept) == ("00", TRACE, flags)
    assert span != SPAN
    assert re.fullmatch(r"[0-9a-f]{16}", span)


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert new_traceparent(f"cc-{TRACE}-{SPAN}-01-what").split("-")[1] == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
    ],
)
def test_what_is_no_trace_begins_a_new_one(parent: str) -> None:
    """Source: W3C Trace Context, section 3.2."""
    made = new_traceparent(parent)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made)
    assert TRACE not in made
