"""Login: who gets in, and who does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from im_common.errors import Code
from im_common.testing.services import refusal
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

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
