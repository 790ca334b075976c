"""Sessions: what lists them, renews them and ends them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog.testing

from auth_service import keys
from auth_service.logic import sessions
from im.auth.v1 import auth_pb2 as pb
from im_common.domain import key_file
from im_common.domain.access_tokens import session_key
from im_common.domain.ids import now_ms
from im_common.errors import Code
from im_common.testing.services import call, refusal
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Backend, Start

PASSWORD = "correct horse"


async def is_over(backend: Backend, pair: pb.TokenPair) -> bool:
    """Whether neither token of a session works; a session works whole or not at all."""
    try:
        await backend.validate(pair.access_token)
        return False
    except Exception:
        assert (await refusal(backend.validate(pair.access_token))).code is Code.SESSION_REVOKED
        assert (await refusal(backend.refresh(pair.refresh_token))).code is Code.SESSION_REVOKED
        return True


async def test_a_session_is_listed_with_what_is_known_of_it(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name, before = new_name(), now_ms()
    first = await backend.register(name)
    second = await backend.login(name, device_id="phone", platform="ios", address="192.0.2.7")

    newest, oldest = await backend.sessions(second.access_token)

    assert newest.session_id == second.session_id
    assert (newest.device_id, newest.platform, newest.address) == ("phone", "ios", "192.0.2.7")
    assert before <= newest.created_at <= newest.last_seen_at <= now_ms()
    assert newest.current
    assert oldest.session_id == first.session_id
    assert not oldest.current


async def test_sessions_are_listed_a_page_at_a_time(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    opened = [await backend.register(name), *[await backend.login(name) for _ in range(2)]]
    token = opened[-1].access_token
    pages, request = [], pb.ListSessionsRequest(limit=2)
    while True:
        answer = await call(backend.auth.ListSessions, request, token=token)
        pages.append([session.session_id for session in answer.sessions])
        if not answer.next_cursor:
            break
        # That a session of the page before ends meanwhile changes nothing for those after it.
        await backend.revoke(token, pages[-1][-1])
        request.cursor = answer.next_cursor

    newest, second, oldest = [pair.session_id for pair in reversed(opened)]
    assert pages == [[newest, second], [oldest]]


@pytest.mark.parametrize(
    ("limit", "cursor", "field"),
    [(101, "", "limit"), (-1, "", "limit"), (1, "x", "cursor"), (1, "WzFd", "cursor")],
)
async def test_a_page_of_sessions_that_cannot_be_is_refused(
    backend: Backend, limit: int, cursor: str, field: str
) -> None:
    pair = await backend.register()
    request = pb.ListSessionsRequest(limit=limit, cursor=cursor)
    error = await refusal(call(backend.auth.ListSessions, request, token=pair.access_token))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


async def test_an_access_token_says_whose_it_is(backend: Backend) -> None:
    pair = await backend.register(device=pb.Device(device_id="d1", platform="web"))

    token = await backend.validate(pair.access_token)

    assert (token.user_id, token.session_id) == (pair.user_id, pair.session_id)
    assert (token.device_id, token.platform) == ("d1", "web")
    assert now_ms() < token.expires_at <= now_ms() + 900_000


async def test_an_access_token_expires(start: Start) -> None:
    async with start(access_token_life=1) as backend:
        pair = await backend.register()

        async def has_expired() -> bool:
            try:
                await backend.validate(pair.access_token)
            except Exception as error:
                return getattr(error, "code", None) is Code.TOKEN_EXPIRED
            return False

        await eventually(has_expired)
        assert (await backend.refresh(pair.refresh_token)).session_id == pair.session_id


async def test_a_refresh_gives_new_tokens_of_the_same_session(backend: Backend) -> None:
    pair = await backend.register()

    fresh = await backend.refresh(pair.refresh_token, address="192.0.2.8")

    assert (fresh.user_id, fresh.session_id) == (pair.user_id, pair.session_id)
    assert fresh.refresh_token != pair.refresh_token
    assert (await backend.validate(fresh.access_token)).session_id == pair.session_id
    (session,) = await backend.sessions(fresh.access_token)
    assert session.address == "192.0.2.8"


async def is_revoked_by(backend: Backend, token: str, newest: pb.TokenPair) -> bool:
    """Whether showing ``token`` again ends the session, and is told to the log."""
    with structlog.testing.capture_logs() as logs:
        error = await refusal(backend.refresh(token))
    assert error.code is Code.SESSION_REVOKED
    (warning,) = [entry for entry in logs if entry["event"] == "refresh token used twice"]
    assert warning["session_id"] == newest.session_id
    return await is_over(backend, newest)


async def test_who_lost_the_answer_gets_the_same_pair_again(backend: Backend) -> None:
    pair = await backend.register()
    # The pair before is still in use, as by calls under way.
    await backend.validate(pair.access_token)

    fresh = await backend.refresh(pair.refresh_token)
    await backend.profile(pair.access_token)
    again = await backend.refresh(pair.refresh_token)

    assert again == fresh
    assert (await backend.validate(again.access_token)).session_id == pair.session_id
    newest = await backend.refresh(again.refresh_token)
    assert newest.refresh_token != fresh.refresh_token


async def test_a_refresh_token_from_two_refreshes_ago_ends_the_session(backend: Backend) -> None:
    pair = await backend.register()
    newest = pair
    for _ in range(2):
        newest = await backend.refresh(newest.refresh_token)

    assert await is_revoked_by(backend, pair.refresh_token, newest)


@pytest.mark.parametrize("use", ["validate", "sessions", "profile"])
async def test_once_the_new_access_token_was_used_anywhere_the_old_pair_is_no_more(
    backend: Backend, use: str
) -> None:
    pair = await backend.register()
    # The service may remember that the session is alive: it looks at a new token all the same.
    await getattr(backend, use)(pair.access_token)
    fresh = await backend.refresh(pair.refresh_token)
    await getattr(backend, use)(fresh.access_token)

    assert await is_revoked_by(backend, pair.refresh_token, fresh)


async def test_after_half_a_minute_a_refresh_token_comes_too_late(backend: Backend) -> None:
    pair = await backend.register()
    fresh = await backend.refresh(pair.refresh_token)
    key = session_key(pair.session_id)
    ((field, until),) = [
        (name, int(value))
        for name, value in (await backend.redis.hgetall(key)).items()
        if name.startswith(b"unused:")
    ]
    assert 20_000 < until - now_ms() <= 30_000

    await backend.redis.hset(key, field, now_ms() - 1)

    assert await is_revoked_by(backend, pair.refresh_token, fresh)


async def test_another_device_gets_no_pair_a_second_time(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(name)
    pair = await backend.login(name, device_id="phone")
    fresh = await backend.refresh(pair.refresh_token, device_id="phone")
    assert await backend.refresh(pair.refresh_token, device_id="phone") == fresh

    error = await refusal(backend.refresh(pair.refresh_token, device_id="tablet"))

    assert error.code is Code.SESSION_REVOKED
    assert await is_over(backend, fresh)


async def test_a_device_that_spells_its_name_as_before_is_the_same(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    await backend.register(name)
    pair = await backend.login(name, device_id=" phone ")
    fresh = await backend.refresh(pair.refresh_token, device_id=" phone ")

    assert await backend.refresh(pair.refresh_token, device_id=" phone ") == fresh


async def test_a_name_that_no_device_can_have_refreshes_nothing(backend: Backend) -> None:
    pair = await backend.register()

    error = await refusal(backend.refresh(pair.refresh_token, device_id="d" * 65))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "device_id")
    assert await backend.refresh(pair.refresh_token)


async def test_refreshes_at_once_all_get_the_same_pair(backend: Backend) -> None:
    pair = await backend.register()
    for _ in range(5):
        first, *others = await asyncio.gather(
            *(backend.refresh(pair.refresh_token) for _ in range(8))
        )
        assert all(other == first for other in others)
        assert first.refresh_token != pair.refresh_token
        pair = first

    assert not await is_over(backend, pair)


async def test_the_same_pair_is_given_after_the_keys_were_rotated(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LOOK_EVERY_S", 0)
    monkeypatch.setattr(key_file, "SIGNS_AFTER_MS", 0)
    pair = await backend.register()
    fresh = await backend.refresh(pair.refresh_token)

    key_file.rotate(backend.key_file, token_life_ms=900_000)

    assert await backend.refresh(pair.refresh_token) == fresh


async def test_a_made_up_refresh_token_ends_nobodys_session(backend: Backend) -> None:
    pair = await backend.register()
    session_id, _, rest = pair.refresh_token.partition(".")

    for made_up in (
        f"{session_id}.{'A' * len(rest)}",
        f"{session_id}.{rest[:-1]}{'0' if rest[-1] != '0' else '1'}",
        f"{session_id}.{'x' * 43}{'0' * 32}",
        session_id,
        "",
        pair.access_token,
        "é" * 40,
    ):
        error = await refusal(backend.refresh(made_up))
        assert error.code is Code.UNAUTHENTICATED

    await backend.refresh(pair.refresh_token)


async def test_a_refresh_token_is_stored_nowhere(backend: Backend) -> None:
    pair = await backend.register()

    fields = await backend.redis.hgetall(session_key(pair.session_id))

    assert all(pair.refresh_token.encode() not in value for value in fields.values())


async def test_a_session_lasts_from_its_last_refresh(start: Start) -> None:
    async with start(refresh_token_life=100) as backend:
        pair = await backend.register()
        key = session_key(pair.session_id)
        await backend.redis.pexpire(key, 5_000)

        fresh = await backend.refresh(pair.refresh_token)

        assert await backend.redis.pttl(key) > 90_000
        # As when its time is over.
        await backend.redis.pexpire(key, 1)
        await eventually(lambda: is_over(backend, fresh))


async def test_logout_ends_the_session_alone(backend: Backend, new_name: Callable[[], str]) -> None:
    name = new_name()
    first, second = await backend.register(name), await backend.login(name)

    await backend.logout(first.access_token)

    assert await is_over(backend, first)
    assert not await is_over(backend, second)
    assert (await refusal(backend.logout(first.access_token))).code is Code.SESSION_REVOKED


async def test_a_user_ends_one_session_from_another(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    first, second = await backend.register(name), await backend.login(name)

    assert await backend.revoke(second.access_token, first.session_id) == 1

    assert await is_over(backend, first)
    assert [s.session_id for s in await backend.sessions(second.access_token)] == [
        second.session_id
    ]
    again = await refusal(backend.revoke(second.access_token, first.session_id))
    assert again.code is Code.NOT_FOUND


async def test_a_user_ends_all_other_sessions(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    others = [await backend.register(name), await backend.login(name)]
    own = await backend.login(name)

    assert await backend.revoke(own.access_token) == 2

    for pair in others:
        assert await is_over(backend, pair)
    assert not await is_over(backend, own)


async def test_nobody_ends_somebody_elses_session(backend: Backend) -> None:
    mine, theirs = await backend.register(), await backend.register()

    for session_id in (theirs.session_id, "0" * 32, "no such id", "*"):
        error = await refusal(backend.revoke(mine.access_token, session_id))
        assert error.code is Code.NOT_FOUND

    assert not await is_over(backend, theirs)


async def test_revoking_needs_a_target(backend: Backend) -> None:
    pair = await backend.register()

    for request in (pb.RevokeSessionRequest(), pb.RevokeSessionRequest(all_others=False)):
        error = await refusal(call(backend.auth.RevokeSession, request, token=pair.access_token))
        assert error.code is Code.INVALID_ARGUMENT


async def test_a_new_password_ends_the_other_sessions(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    other, own = await backend.register(name), await backend.login(name)

    await backend.change_password(own.access_token, PASSWORD, "battery staple")

    assert await is_over(backend, other)
    assert not await is_over(backend, own)
    assert (await refusal(backend.login(name))).code is Code.INVALID_CREDENTIALS
    await backend.login(name, "battery staple")


async def test_a_password_changes_only_with_the_old_one_and_to_a_good_one(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)

    wrong = await refusal(backend.change_password(pair.access_token, "wrong one", "new password"))
    short = await refusal(backend.change_password(pair.access_token, PASSWORD, "short"))

    assert wrong.code is Code.INVALID_CREDENTIALS
    assert (short.code, short.field) == (Code.INVALID_ARGUMENT, "new_password")
    await backend.login(name)


async def test_a_stolen_access_token_is_no_way_to_guess_the_password(backend: Backend) -> None:
    pair = await backend.register()
    for _ in range(5):
        await refusal(backend.change_password(pair.access_token, "wrong one", "new password"))

    error = await refusal(backend.change_password(pair.access_token, PASSWORD, "new password"))

    assert error.code is Code.ACCOUNT_LOCKED


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_login_under_way_does_not_outlive_a_new_password_or_an_end_of_the_account(
    backend: Backend,
    new_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    disabled: bool,
) -> None:
    name = new_name()
    own = await backend.register(name)
    checked, go_on = asyncio.Event(), asyncio.Event()
    open_session = sessions.open_session

    async def open_later(*arguments: Any) -> Any:
        checked.set()
        await go_on.wait()
        return await open_session(*arguments)

    monkeypatch.setattr(sessions, "open_session", open_later)
    login = asyncio.create_task(refusal(backend.login(name)))
    await checked.wait()
    if disabled:
        await backend.disable(own.user_id)
    else:
        await backend.change_password(own.access_token, PASSWORD, "battery staple")
    go_on.set()

    expected = Code.PERMISSION_DENIED if disabled else Code.INVALID_CREDENTIALS
    assert (await login).code is expected
    assert await backend.redis.zcard(f"sessions:{own.user_id}") == (0 if disabled else 1)


async def test_with_single_a_new_login_ends_all_older_ones(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(multi_login="single") as backend:
        name = new_name()
        first = await backend.register(name)
        second = await backend.login(name, platform="ios")

        assert await is_over(backend, first)
        assert not await is_over(backend, second)


async def test_with_one_per_platform_a_new_login_ends_those_on_its_platform(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(multi_login="one_per_platform") as backend:
        name = new_name()
        await backend.register(name)
        phone = await backend.login(name, platform="ios")
        browser = await backend.login(name, platform="web")
        new_phone = await backend.login(name, platform="ios")

        assert await is_over(backend, phone)
        assert not await is_over(backend, browser)
        assert not await is_over(backend, new_phone)


async def test_of_logins_at_once_single_leaves_one(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(multi_login="single") as backend:
        name = new_name()
        await backend.register(name)
        pairs = await asyncio.gather(*(backend.login(name) for _ in range(10)))

        over = [await is_over(backend, pair) for pair in pairs]
        assert over.count(False) == 1


async def test_the_oldest_session_goes_when_there_are_too_many(
    start: Start, new_name: Callable[[], str]
) -> None:
    async with start(max_sessions=3) as backend:
        name = new_name()
        pairs = [await backend.register(name), *[await backend.login(name) for _ in range(4)]]

        assert [await is_over(backend, pair) for pair in pairs] == [True, True, False, False, False]


async def test_the_time_a_session_was_last_seen_moves_at_most_once_a_minute(
    backend: Backend,
) -> None:
    pair = await backend.register()
    key = session_key(pair.session_id)
    await backend.redis.hset(key, "last_seen_at", now_ms() - 30_000)
    await backend.validate(pair.access_token)
    assert (await backend.sessions(pair.access_token))[0].last_seen_at <= now_ms() - 30_000

    await backend.redis.hset(key, "last_seen_at", now_ms() - 61_000)
    await backend.validate(pair.access_token, address="192.0.2.9")

    (session,) = await backend.sessions(pair.access_token)
    assert session.last_seen_at > now_ms() - 10_000
    assert session.address == "192.0.2.9"


async def test_what_is_over_leaves_the_list_of_sessions(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    first, second = await backend.register(name), await backend.login(name)
    await backend.redis.delete(session_key(first.session_id))

    assert len(await backend.sessions(second.access_token)) == 1
    assert await backend.redis.zcard(f"sessions:{first.user_id}") == 1
