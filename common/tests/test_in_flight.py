"""Messages on their way: one answer each, and no more than can be answered in time."""

from __future__ import annotations

import msgspec
import pytest

from im_common.domain import in_flight
from im_common.domain.in_flight import LEAST, InFlight, RetryKey
from im_common.errors import AppError, Code
from im_common.runtime.rate import Bucket


def started(of: InFlight, count: int, conversation_id: str = "s:1:2") -> list[int]:
    return [of.begin(RetryKey(1, str(n)), conversation_id, lambda _: None) for n in range(count)]


def test_an_answer_is_given_once() -> None:
    of, got = InFlight(), list[bytes]()
    token = of.begin(RetryKey(1, "c"), "s:1:2", got.append)
    of.settle(token, b"1")
    of.settle(token, b"2")
    of.give_up(token)
    assert got == [b"1"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One number: the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(in_flight.time, "monotonic", lambda: now[0])
    return now


def test_who_waits_too_long_is_told_to_try_again(clock: list[float]) -> None:
    of, got = InFlight(), list[bytes]()
    token = of.begin(RetryKey(1, "c"), "s:1:2", got.append)
    assert of.join(RetryKey(1, "c"), "s:1:2", got.append)
    clock[0] += 9.9
    of.tick()
    assert not got
    clock[0] += 0.1
    of.tick()
    assert len(got) == 2
    for error in map(msgspec.json.decode, got):
        assert (error["code"], error["client_msg_id"]) == (Code.UNAVAILABLE, "c")
        assert error["retry_after_ms"] > 0
    of.settle(token, b"late")
    assert (len(got), len(of)) == (2, 0)
    assert not of.join(RetryKey(1, "c"), "s:1:2", got.append)


def test_who_tries_again_waits_for_the_record_that_is_on_its_way(clock: list[float]) -> None:
    of, got = InFlight(), list[bytes]()
    token = of.begin(RetryKey(1, "c"), "s:1:2", lambda _: None)
    clock[0] += 10
    of.tick()
    assert of.join(RetryKey(1, "c"), "s:1:2", got.append)
    clock[0] += 9.9
    of.tick()
    assert (got, len(of)) == ([], 1)
    of.settle(token, b"late")
    assert got == [b"late"]


def test_what_nothing_is_heard_of_is_lost(clock: list[float]) -> None:
    of, got = InFlight(), list[bytes]()
    of.begin(RetryKey(1, "c"), "s:1:2", lambda _: None)
    for _ in range(2):
        clock[0] += 10
        of.tick()
        of.join(RetryKey(1, "c"), "s:1:2", got.append)
    assert (len(got), len(of)) == (1, 0)
    assert not of.join(RetryKey(1, "c"), "s:1:2", got.append)


def test_what_would_wait_too_long_is_refused_at_once() -> None:
    of = InFlight()
    tokens = started(of, LEAST)
    with pytest.raises(AppError) as refused:
        started(of, 1)
    assert refused.value.code is Code.UNAVAILABLE
    assert (refused.value.retry_after_ms or 0) > 0
    of.settle(tokens[0], b"")
    started(of, 1)


def test_the_more_are_answered_the_more_are_taken() -> None:
    of = InFlight()
    for _ in range(20):
        for token in started(of, LEAST):
            of.settle(token, b"")
        of.tick()
    started(of, 2 * LEAST)


def test_a_lane_that_stands_still_holds_up_no_other(clock: list[float]) -> None:
    of = InFlight()
    started(of, 1, "s:1:2")
    clock[0] += in_flight.STUCK_S + 0.1
    of.tick()
    with pytest.raises(AppError):
        of.begin(RetryKey(1, "later"), "s:1:2", lambda _: None)
    of.begin(RetryKey(2, "c"), "s:3:4", lambda _: None)


def test_who_left_is_told_nothing() -> None:
    of, got = InFlight(), list[bytes]()
    token = of.begin(RetryKey(1, "c"), "s:1:2", got.append)
    of.leave(token, got.append)
    of.settle(token, b"1")
    assert got == []


def test_a_bucket_takes_a_burst_and_then_says_when(clock: list[float]) -> None:
    bucket = Bucket(10, 5)
    waits = [bucket.take() for _ in range(8)]
    assert waits == pytest.approx([0.0] * 5 + [0.1, 0.2, 0.3])
