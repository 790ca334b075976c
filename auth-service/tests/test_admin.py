"""What an operator asks of accounts, and the log of what was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from im.auth.v1 import admin_pb2 as pb
from im.user.v1 import user_pb2
from im_common.errors import AppError, Code
from im_common.runtime.sections import ClientConf
from im_common.testing.services import call, refusal
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from conftest import Backend, Start


async def find(backend: Backend, **wanted: Any) -> pb.FindAccountsResponse:
    request = pb.FindAccountsRequest(**wanted)
    return await call(backend.accounts.FindAccounts, request, service="im-admin")


async def names(backend: Backend, **wanted: Any) -> list[str]:
    return [account.username for account in (await find(backend, **wanted)).accounts]


async def remove(backend: Backend, user_id: int) -> None:
    request = pb.RemoveAccountRequest(user_id=user_id)
    await call(backend.accounts.RemoveAccount, request, service="im-admin")


async def promote(backend: Backend, user_id: int, admin: bool = True) -> None:
    request = pb.SetAdminRequest(user_id=user_id, admin=admin)
    await call(backend.accounts.SetAdmin, request, service="im-admin")


async def open_page(
    backend: Backend, username: str, password: str = "correct horse"
) -> pb.OpenAdminSessionResponse:
    request = pb.OpenAdminSessionRequest(username=username, password=password)
    return await call(backend.admin_sessions.OpenAdminSession, request, service="api-gateway")


async def check_page(backend: Backend, token: str) -> pb.CheckAdminSessionResponse:
    request = pb.CheckAdminSessionRequest(token=token)
    return await call(backend.admin_sessions.CheckAdminSession, request, service="api-gateway")


async def begin(backend: Backend, **deed: str) -> int:
    request = pb.BeginDeedRequest(**deed)
    return (await call(backend.audit.BeginDeed, request, service="im-admin")).deed_id


async def end(backend: Backend, deed_id: int, outcome: str) -> None:
    request = pb.EndDeedRequest(deed_id=deed_id, outcome=outcome)
    await call(backend.audit.EndDeed, request, service="im-admin")


async def deeds(backend: Backend, **wanted: Any) -> pb.ListDeedsResponse:
    request = pb.ListDeedsRequest(**wanted)
    return await call(backend.audit.ListDeeds, request, service="im-admin")


async def may_be_written_to(backend: Backend, user_id: int) -> bool:
    request = user_pb2.CheckUsersRequest(user_ids=[user_id])
    answer = await call(backend.users.CheckUsers, request, service="chat-service")
    return list(answer.user_ids) == [user_id]


async def test_accounts_are_found_by_name_email_and_id(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    first = await backend.register(f"{name}.a", email=f"{name}@Example.org")
    await backend.register(f"{name}.B")

    assert await names(backend, text=name.upper()) == [f"{name}.a", f"{name}.B"]
    assert await names(backend, text=f"{name}@example.ORG") == [f"{name}.a"]
    assert await names(backend, user_id=first.user_id) == [f"{name}.a"]
    assert await names(backend, text=f"{name}.c") == []
    assert await names(backend, text="möbius%") == []


async def test_a_list_of_accounts_comes_in_pages(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    for letter in "abc":
        await backend.register(f"{name}.{letter}")

    first = await find(backend, text=name, limit=2)
    second = await find(backend, text=name, limit=2, cursor=first.next_cursor)

    found = [account.username for account in (*first.accounts, *second.accounts)]
    assert found == [f"{name}.{letter}" for letter in "abc"]
    assert not second.next_cursor
    error = await refusal(find(backend, text=name, limit=101))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "limit")


async def test_a_disabled_account_is_shut_in_both_services(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)

    await backend.disable(pair.user_id)
    assert await names(backend, text=name, only_disabled=True) == [name]
    assert not await may_be_written_to(backend, pair.user_id)

    await backend.disable(pair.user_id, False)
    assert await names(backend, text=name, only_disabled=True) == []
    assert await may_be_written_to(backend, pair.user_id)


async def test_the_door_is_shut_though_the_profile_cannot_be_reached(
    start: Start, new_name: Callable[[], str]
) -> None:
    """And it says so, so that it is asked for again."""
    name = new_name()
    async with start() as backend:
        pair = await backend.register(name)
    nobody = ClientConf(endpoints=["127.0.0.1:9"], timeout=300)
    async with start(user_rpc=nobody) as backend:
        error = await refusal(backend.disable(pair.user_id))
        assert error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
        assert (await refusal(backend.login(name))).code is Code.PERMISSION_DENIED
    async with start() as backend:
        await backend.disable(pair.user_id)
        assert not await may_be_written_to(backend, pair.user_id)


async def test_a_removed_account_is_gone_once(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)

    await remove(backend, pair.user_id)

    assert (await refusal(backend.login(name))).code is Code.INVALID_CREDENTIALS
    assert (await refusal(backend.refresh(pair.refresh_token))).code is Code.SESSION_REVOKED
    (account,) = (await find(backend, user_id=pair.user_id)).accounts
    assert account.deleted
    assert (await refusal(remove(backend, pair.user_id))).code is Code.NOT_FOUND
    assert (await refusal(backend.disable(pair.user_id, False))).code is Code.NOT_FOUND


async def test_an_operator_ends_one_session_or_all(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pairs = [await backend.register(name)] + [await backend.login(name) for _ in range(2)]
    user_id = pairs[0].user_id

    async def ended(session_id: str = "") -> int:
        request = pb.EndUserSessionsRequest(user_id=user_id, session_id=session_id)
        return (await call(backend.accounts.EndUserSessions, request, service="im-admin")).ended

    async def listed() -> set[str]:
        request = pb.ListUserSessionsRequest(user_id=user_id)
        answer = await call(backend.accounts.ListUserSessions, request, service="im-admin")
        return {session.session_id for session in answer.sessions}

    assert await listed() == {pair.session_id for pair in pairs}
    assert await ended(pairs[0].session_id) == 1
    assert await listed() == {pair.session_id for pair in pairs[1:]}
    assert (await refusal(ended(pairs[0].session_id))).code is Code.NOT_FOUND
    assert await ended() == 2
    assert await listed() == set()


async def test_the_page_lets_in_who_has_the_role_and_for_as_long(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)
    assert (await refusal(open_page(backend, name))).code is Code.PERMISSION_DENIED

    await promote(backend, pair.user_id)
    assert (await find(backend, user_id=pair.user_id)).accounts[0].admin
    opened = await open_page(backend, name)
    assert (opened.session.user_id, opened.session.username) == (pair.user_id, name)
    assert (await check_page(backend, opened.token)).session == opened.session
    await promote(backend, pair.user_id, False)
    assert (await refusal(check_page(backend, opened.token))).code is Code.PERMISSION_DENIED

    await promote(backend, pair.user_id)
    assert (await check_page(backend, opened.token)).session == opened.session
    await backend.disable(pair.user_id)
    await backend.disable(pair.user_id, False)
    assert (await refusal(check_page(backend, opened.token))).code is Code.SESSION_REVOKED
    await remove(backend, pair.user_id)
    assert not (await find(backend, user_id=pair.user_id)).accounts[0].admin
    assert (await refusal(promote(backend, pair.user_id))).code is Code.NOT_FOUND


async def test_a_session_of_the_page_opens_nothing_else_and_no_other_opens_the_page(
    backend: Backend, new_name: Callable[[], str]
) -> None:
    name = new_name()
    pair = await backend.register(name)
    await promote(backend, pair.user_id)
    opened = await open_page(backend, name)

    assert (await refusal(backend.refresh(opened.token))).code is Code.UNAUTHENTICATED
    assert (await refusal(check_page(backend, pair.refresh_token))).code is Code.UNAUTHENTICATED
    assert (await refusal(check_page(backend, "nothing"))).code is Code.UNAUTHENTICATED
    forged = opened.token[:-1] + ("0" if opened.token[-1] != "0" else "1")
    assert (await refusal(check_page(backend, forged))).code is Code.UNAUTHENTICATED
    assert (await refusal(open_page(backend, name, "wrong-password"))).code is (
        Code.INVALID_CREDENTIALS
    )
    for _ in range(2):
        request = pb.EndAdminSessionRequest(token=opened.token)
        await call(backend.admin_sessions.EndAdminSession, request, service="api-gateway")
    assert (await refusal(check_page(backend, opened.token))).code is Code.SESSION_REVOKED


async def test_a_session_of_the_page_has_an_end_and_takes_no_place_of_a_client(
    start: Start, new_name: Callable[[], str]
) -> None:
    name = new_name()
    async with start(multi_login="single", admin_session_life=1) as backend:
        pair = await backend.register(name)
        await promote(backend, pair.user_id)
        opened = await open_page(backend, name)
        await backend.refresh(pair.refresh_token)
        await backend.login(name)
        await check_page(backend, opened.token)

        async def is_over() -> bool:
            try:
                await check_page(backend, opened.token)
            except AppError as error:
                return error.code is Code.SESSION_REVOKED
            return False

        await eventually(is_over)


async def test_a_deed_is_read_back_with_its_first_outcome(backend: Backend) -> None:
    who = f"operator {id(backend)}"
    first = await begin(backend, who=who, action="users disable", target="user 1001", reason="spam")
    second = await begin(backend, who=who, action="keys rotate")
    await end(backend, first, "ok")
    await end(backend, first, "NOT_FOUND")

    found = (await deeds(backend, who=who)).deeds
    assert [(deed.deed_id, deed.action, deed.outcome) for deed in found] == [
        (second, "keys rotate", ""),
        (first, "users disable", "ok"),
    ]
    (one,) = (await deeds(backend, who=who, target="user 1001")).deeds
    assert (one.deed_id, one.reason) == (first, "spam")
    page = await deeds(backend, who=who, limit=1)
    (older,) = (await deeds(backend, who=who, limit=1, cursor=page.next_cursor)).deeds
    assert older.deed_id == first


@pytest.mark.parametrize(
    ("deed", "field"),
    [
        ({"who": "", "action": "a"}, "who"),
        ({"who": "w" * 65, "action": "a"}, "who"),
        ({"who": "w", "action": ""}, "action"),
        ({"who": "w", "action": "ü"}, "action"),
        ({"who": "w", "action": "a", "target": "t" * 256}, "target"),
        ({"who": "w", "action": "a", "reason": "r" * 256}, "reason"),
    ],
)
async def test_a_deed_that_cannot_be_kept_names_its_field(
    backend: Backend, deed: dict[str, str], field: str
) -> None:
    error = await refusal(begin(backend, **deed))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)
