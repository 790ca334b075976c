"""How long logins take, and who else waits for them: to be run on a machine that does nothing else."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from im_common.errors import AppError, Code
from im_common.testing.services import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Start

WRONG = "wrong password"


async def test_a_wrong_name_takes_as_long_as_a_wrong_password(
    start: Start, new_name: Callable[[], str]
) -> None:
    async def seconds(name: str) -> float:
        began = time.perf_counter()
        await refusal(backend.login(name, WRONG))
        return time.perf_counter() - began

    async with start(bcrypt_cost=9, rate_limits="off") as backend:
        name = new_name()
        await backend.register(name)
        # In turns, so that what else the machine does falls on both alike; it only ever adds to a time.
        times = [(await seconds(name), await seconds(new_name())) for _ in range(9)]
        wrong_password, wrong_name = (min(column) for column in zip(*times, strict=True))

    assert wrong_name == pytest.approx(wrong_password, rel=0.5)


async def test_while_fifty_logins_wait_others_are_answered_at_once(
    start: Start, new_name: Callable[[], str]
) -> None:
    async def seconds(answer: Awaitable[object]) -> float:
        began = time.perf_counter()
        await answer
        return time.perf_counter() - began

    async with start(bcrypt_cost=9) as backend:
        name = new_name()
        token = (await backend.register(name)).access_token
        logins = [
            asyncio.create_task(seconds(backend.login(name, timeout_s=60))) for _ in range(50)
        ]
        others = []
        while not all(login.done() for login in logins):
            others.append(await seconds(backend.validate(token)))
        login_s = statistics.median(await asyncio.gather(*logins))

    # Beside the logins, not behind them: compared in one run, as a machine may be slow.
    assert len(others) > 20
    assert statistics.median(others) < login_s / 20
    assert statistics.quantiles(others, n=20)[-1] < login_s / 5


async def test_a_login_too_many_is_refused_and_told_when_to_come_back(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(bcrypt_cost=10, max_waiting_logins=3) as backend:
        name = new_name()
        await backend.register(name)
        answers = await asyncio.gather(
            *(backend.login(name) for _ in range(20)), return_exceptions=True
        )

        refused = [answer for answer in answers if isinstance(answer, Exception)]
        assert refused
        assert {getattr(error, "code", None) for error in refused} == {Code.UNAVAILABLE}
        assert {getattr(error, "retry_after_ms", None) for error in refused} == {1000}


async def test_a_login_that_would_come_too_late_is_refused_at_once(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(bcrypt_cost=10) as backend:
        name = new_name()
        await backend.register(name)
        logins = [backend.login(name, timeout_s=2.0) for _ in range(75)]
        others = [backend.register(timeout_s=2.0) for _ in range(75)]
        mixed = [call for pair in zip(logins, others, strict=True) for call in pair]

        answers = await asyncio.gather(*mixed, return_exceptions=True)

        failed = [answer for answer in answers if isinstance(answer, AppError)]
        refused = [error for error in failed if error.code is Code.UNAVAILABLE]
        assert len(failed) < len(answers)
        assert all((error.retry_after_ms or 0) >= 1000 for error in refused)
        # Next to none was worked on for nothing (where the machine suddenly became slower).
        late = [error for error in failed if error.code is Code.DEADLINE_EXCEEDED]
        assert len(late) * 4 < len(refused)
        assert len(late) + len(refused) == len(failed)
        # And when it is over the next one is let in.
        await backend.login(name)
