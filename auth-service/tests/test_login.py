"""Login: who gets in, who does not, and how long the others wait for it."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from im_common.errors import AppError, Code
from im_common.testing.services import refusal
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Backend, Start

WRONG = "wrong password"


async def test_the_username_counts_in_any_case(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)

    assert (await backend.login(name.upper())).user_id == pair.user_id


async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(name)

    errors = [
        await refusal(backend.login(name, WRONG)),
        await refusal(backend.login(new_name(), WRONG)),
        await refusal(backend.login("müller 密", WRONG)),
        await refusal(backend.login("", "")),
        await refusal(backend.login(name, "correct horse" + "x" * 72)),
    ]

    assert {(error.code, error.message, error.field) for error in errors} == {
        (Code.INVALID_CREDENTIALS, errors[0].message, None)
    }


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


@pytest.mark.parametrize(
    ("device", "field"),
    [
        ({"platform": "toaster"}, "platform"),
        ({"device_id": "d" * 65}, "device_id"),
        ({"device_id": "a\0b"}, "device_id"),
    ],
)
async def test_a_device_must_be_one(backend: Backend, device: dict[str, str], field: str) -> None:
    error = await refusal(backend.login("whoever", **device))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


async def test_an_account_waits_after_five_failures_longer_each_time(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(guessing={"first_wait": 2_000, "longest_wait": 100_000}) as backend:
        name = new_name()
        await backend.register(name)
        for _ in range(5):
            assert (await refusal(backend.login(name, WRONG))).code is Code.INVALID_CREDENTIALS

        locked = await refusal(backend.login(name))
        assert locked.code is Code.ACCOUNT_LOCKED
        assert 0 < (locked.retry_after_ms or 0) <= 2_000

        await asyncio.sleep((locked.retry_after_ms or 0) / 1000 + 0.01)
        assert (await refusal(backend.login(name, WRONG))).code is Code.INVALID_CREDENTIALS
        longer = await refusal(backend.login(name))
        assert 2_000 < (longer.retry_after_ms or 0) <= 4_000


async def test_a_success_forgets_the_failures(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(name)
    for _ in range(2):
        for _ in range(4):
            assert (await refusal(backend.login(name, WRONG))).code is Code.INVALID_CREDENTIALS
        await backend.login(name)


async def test_a_name_that_nobody_has_is_locked_too(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    for _ in range(5):
        await refusal(backend.login(name, WRONG))

    assert (await refusal(backend.login(name.upper(), WRONG))).code is Code.ACCOUNT_LOCKED


async def test_an_address_waits_after_twenty_failures_with_any_names(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    network = f"2001:db8:{new_name()[-4:]}:{new_name()[-4:]}"
    await backend.register(name)
    for host in range(20):
        error = await refusal(backend.login(new_name(), WRONG, address=f"{network}::{host}"))
        assert error.code is Code.INVALID_CREDENTIALS

    locked = await refusal(backend.login(name, address=f"{network}::ffff"))
    assert locked.code is Code.ACCOUNT_LOCKED
    await backend.login(name, address="192.0.2.1")


async def test_many_guesses_at_once_learn_no_more_than_a_few(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(name)

    errors = await asyncio.gather(*(refusal(backend.login(name, WRONG)) for _ in range(40)))

    assert sum(error.code is Code.INVALID_CREDENTIALS for error in errors) == 5
    assert (await refusal(backend.login(name))).code is Code.ACCOUNT_LOCKED


async def test_nobody_is_counted_when_rate_limits_are_off(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(rate_limits="off") as backend:
        name = new_name()
        await backend.register(name)
        for _ in range(8):
            await refusal(backend.login(name, WRONG))

        await backend.login(name)


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


async def test_a_disabled_account_is_out_until_it_is_enabled(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)

    await backend.disable(pair.user_id)

    assert (await refusal(backend.validate(pair.access_token))).code is Code.SESSION_REVOKED
    assert (await refusal(backend.refresh(pair.refresh_token))).code is Code.SESSION_REVOKED
    assert (await refusal(backend.login(name))).code is Code.PERMISSION_DENIED
    assert (await refusal(backend.login(name, WRONG))).code is Code.INVALID_CREDENTIALS
    await backend.disable(pair.user_id, False)
    await eventually(lambda: backend.login(name))


async def test_only_an_account_that_exists_can_be_disabled(backend: Backend) -> None:
    assert (await refusal(backend.disable(999_999_999))).code is Code.NOT_FOUND
