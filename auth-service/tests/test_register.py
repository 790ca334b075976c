"""Register makes one account with one profile, whatever happens in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from im_common.errors import Code
from im_common.testing.services import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Backend, Prepare

PASSWORD = "correct horse"


async def test_register_gives_a_session_and_a_profile(backend: Backend) -> None:
    pair = await backend.register("Ann.e_1-x", nickname="安妮 🦊", email="Ann@Example.org")

    assert pair.user_id >= 1001
    assert pair.expires_in == 900
    profile = await backend.profile(pair.access_token)
    assert profile.user.user_id == pair.user_id
    assert profile.user.username == "Ann.e_1-x"
    assert profile.user.nickname == "安妮 🦊"
    assert profile.email == "Ann@Example.org"


async def test_the_nickname_is_the_username_when_none_is_given(backend: Backend) -> None:
    pair = await backend.register("Bob-by")

    assert (await backend.profile(pair.access_token)).user.nickname == "Bob-by"


async def test_a_device_without_a_name_gets_one(backend: Backend) -> None:
    pair = await backend.register()

    token = await backend.validate(pair.access_token)
    assert token.device_id
    assert token.platform == "other"


async def test_ids_count_upwards(backend: Backend) -> None:
    first = await backend.register()
    second = await backend.register()

    assert second.user_id > first.user_id >= 1001


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "a" * 33),
        ("username", "with space"),
        ("username", "müller"),
        ("username", "ａｂｃ"),
        ("username", "abc\n"),
        ("password", "short"),
        ("password", "x" * 73),
        ("password", "密" * 25),
        ("nickname", "n" * 65),
        ("nickname", "bell\a"),
        ("email", "no-at-sign"),
        ("email", "two@at@signs"),
        ("email", "sp ace@example.org"),
        ("email", "@example.org"),
        ("email", "a" * 251 + "@b.c"),
    ],
)
async def test_what_cannot_be_taken_is_named(
    backend: Backend, new_name: Callable[[], str], field: str, value: str
) -> None:
    fields = {"username": new_name(), "password": PASSWORD} | {field: value}

    error = await refusal(backend.register(**fields))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


async def test_a_password_may_have_8_to_72_bytes(backend: Backend) -> None:
    for password in ("12345678", "x" * 72, "密" * 24):
        pair = await backend.register(password=password)
        assert pair.access_token


async def test_a_username_is_taken_in_any_case(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(name)

    error = await refusal(backend.register(name.upper()))

    assert (error.code, error.field) == (Code.ALREADY_EXISTS, "username")


async def test_an_email_is_taken_in_any_case_but_an_accent_is_another(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(email=f"{name}é@example.org")

    error = await refusal(backend.register(email=f"{name.upper()}É@EXAMPLE.org"))

    assert (error.code, error.field) == (Code.ALREADY_EXISTS, "email")
    await backend.register(email=f"{name}e@example.org")
    await backend.register(email=f"{name}😀@example.org")
    await backend.register(email=f"{name}😁@example.org")


async def test_accounts_without_an_email_do_not_collide(backend: Backend) -> None:
    await backend.register()
    await backend.register()


async def test_of_many_at_once_one_gets_the_name(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()

    answers = await asyncio.gather(
        *(backend.register(name) for _ in range(8)), return_exceptions=True
    )

    accounts = [answer for answer in answers if not isinstance(answer, Exception)]
    assert len(accounts) == 1
    assert (await backend.login(name)).user_id == accounts[0].user_id


async def test_a_retry_goes_on_when_user_service_was_away(
    prepare: Prepare, new_name: Callable[[], str]
) -> None:
    name = new_name()
    async with prepare() as backend, backend.auth_running():
        error = await refusal(backend.register(name, nickname="N", email=f"{name}@x.y"))
        assert error.code is Code.UNAVAILABLE
        async with backend.users_running():
            pair = await backend.register(name, nickname="N", email=f"{name}@x.y")

            profile = await backend.profile(pair.access_token)
            assert (profile.user.nickname, profile.email) == ("N", f"{name}@x.y")
            assert (await backend.login(name)).user_id == pair.user_id
            again = await refusal(backend.register(name))
            assert again.code is Code.ALREADY_EXISTS


async def test_the_next_login_makes_the_missing_profile(
    prepare: Prepare, new_name: Callable[[], str]
) -> None:
    name = new_name()
    async with prepare() as backend, backend.auth_running():
        await refusal(backend.register(name, nickname="N"))
        assert (await refusal(backend.login(name))).code is Code.UNAVAILABLE
        async with backend.users_running():
            pair = await backend.login(name)

            assert (await backend.profile(pair.access_token)).user.nickname == "N"


async def test_nobody_else_goes_on_with_an_unfinished_account(
    prepare: Prepare, new_name: Callable[[], str]
) -> None:
    name = new_name()
    async with prepare() as backend, backend.auth_running():
        await refusal(backend.register(name))
        async with backend.users_running():
            error = await refusal(backend.register(name, "another password"))

            assert (error.code, error.field) == (Code.ALREADY_EXISTS, "username")


async def test_an_unfinished_account_is_no_way_to_guess_unwatched(
    prepare: Prepare, new_name: Callable[[], str]
) -> None:
    name = new_name()
    async with prepare() as backend, backend.auth_running():
        await refusal(backend.register(name))
        for _ in range(5):
            await refusal(backend.register(name, "another password"))

        assert (await refusal(backend.register(name))).code is Code.ACCOUNT_LOCKED
