"""SearchUsers: what is found, in which order, on which page."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from im.user.v1 import user_pb2 as pb
from im_common.domain.paging import write_cursor
from im_common.errors import Code
from im_common.testing.services import call, refusal

if TYPE_CHECKING:
    from conftest import UserService


@pytest.fixture
def mark() -> str:
    """Six letters that no other test's users begin with."""
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(6))


async def found(service: UserService, query: str) -> list[int]:
    """The first page."""
    return (await service.search(query, limit=100))[0]


@pytest.mark.parametrize("key", ["é", "ann ", "ann\x1f", "ann\n", "Ann", "a" * 33])
async def test_a_cursor_that_no_username_can_be_is_refused(service: UserService, key: str) -> None:
    request = pb.SearchUsersRequest(query="ann", cursor=write_cursor(0, key, 1))
    error = await refusal(call(service.users.SearchUsers, request, token=service.caller.token))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "cursor")


async def test_a_nickname_whose_key_ends_in_a_space_is_not_the_one_without(
    service: UserService, mark: str
) -> None:
    # One character that is searched as eighteen, so that the key is cut off behind a space.
    wide = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"
    longer = await service.person(nickname=mark + 7 * wide)
    shorter = await service.person(nickname=f"{mark}{6 * wide}صلى الله عليه")

    assert await found(service, mark + 7 * wide) == [longer.user_id]
    assert await found(service, mark) == [shorter.user_id, longer.user_id]
    first, cursor = await service.search(mark, limit=1)
    assert (first, (await service.search(mark, cursor=cursor))[0]) == (
        [shorter.user_id],
        [longer.user_id],
    )


async def test_by_id_and_by_exact_username(service: UserService, mark: str) -> None:
    person = await service.person(f"{mark}.Person")

    assert await found(service, str(person.user_id)) == [person.user_id]
    assert await found(service, f"{mark}.PERSON") == [person.user_id]
    assert await found(service, f" {mark}.person ") == [person.user_id]


async def test_by_a_prefix_of_the_username_the_exact_one_first(
    service: UserService, mark: str
) -> None:
    longer = await service.person(f"{mark}0")
    exact = await service.person(mark)
    other = await service.person(f"x{mark}")

    assert await found(service, mark.upper()) == [exact.user_id, longer.user_id]
    assert other.user_id not in await found(service, mark[:3])


async def test_a_username_that_is_a_number_comes_before_the_user_with_that_id(
    service: UserService,
) -> None:
    first = await service.person()
    named = await service.person(str(first.user_id))

    assert (await found(service, str(first.user_id)))[:2] == [named.user_id, first.user_id]


@pytest.mark.parametrize(
    ("nickname", "query"),
    [
        ("小明同学", "小明"),
        ("😀 smile", "😀"),
        ("Ünïcode", "ünï"),
        ("ＷＩＤＥ letters", "wide"),
        ("Straße", "STRASSE"),
        ("мир", "МИ"),
        ("100%_sure", "100%_"),
        ("👩‍👩‍👧 family", "👩‍👩"),
    ],
)
async def test_by_a_prefix_of_the_nickname_in_any_script(
    service: UserService, mark: str, nickname: str, query: str
) -> None:
    person = await service.person(nickname=nickname + mark)

    assert person.user_id in await found(service, query)


async def test_an_accent_or_an_emoji_is_not_another(service: UserService, mark: str) -> None:
    plain = await service.person(nickname=f"{mark}e")
    accent = await service.person(nickname=f"{mark}é")
    smile, grin = [await service.person(nickname=f"{mark}{face}") for face in "😀😁"]

    assert await found(service, f"{mark}e") == [plain.user_id]
    # Composed or not, it is the same letter.
    assert await found(service, f"{mark}e\u0301") == [accent.user_id]
    assert await found(service, f"{mark}😀") == [smile.user_id]
    assert await found(service, f"{mark}😁") == [grin.user_id]


@pytest.mark.parametrize("query", ["%", "_", "%%%", "\\", "'; DROP TABLE users; --"])
async def test_wildcards_are_plain_characters(service: UserService, query: str) -> None:
    await service.person(nickname="anything")

    assert await found(service, query + "nobody") == []


async def test_never_by_email(service: UserService, mark: str) -> None:
    await service.person(email=f"{mark}@example.org")

    assert await found(service, mark) == []
    assert await found(service, f"{mark}@example.org") == []


async def test_a_new_nickname_is_found_and_the_old_one_is_not(
    service: UserService, mark: str
) -> None:
    person = await service.person(nickname=f"{mark}old")
    await service.update(person, "nickname", user=pb.User(nickname=f"{mark}new"))

    assert await found(service, f"{mark}new") == [person.user_id]
    assert await found(service, f"{mark}old") == []


async def test_pages_hold_everyone_once_in_one_order(service: UserService, mark: str) -> None:
    exact = await service.person(mark)
    named = [await service.person(f"{mark}{n}", nickname=f"{mark} {n}") for n in range(5)]
    nicknamed = [await service.person(nickname=f"{mark.upper()} {n % 3}") for n in range(7)]

    pages, cursor = [], ""
    while True:
        page, cursor = await service.search(mark, limit=3, cursor=cursor)
        pages.append(page)
        if not cursor:
            break

    ids = [user_id for page in pages for user_id in page]
    assert [len(page) for page in pages] == [3, 3, 3, 3, 1]
    assert ids[:6] == [exact.user_id, *(person.user_id for person in named)]
    by_nickname = sorted(range(7), key=lambda n: (n % 3, nicknamed[n].user_id))
    assert ids[6:] == [nicknamed[n].user_id for n in by_nickname]
    assert await found(service, mark) == ids


async def test_a_page_of_one_after_the_exact_one_goes_on(service: UserService, mark: str) -> None:
    exact, longer = await service.person(mark), await service.person(f"{mark}1")

    first, cursor = await service.search(mark, limit=1)
    second, end = await service.search(mark, limit=1, cursor=cursor)

    assert (first, second, end) == ([exact.user_id], [longer.user_id], "")


async def test_disabled_users_are_not_found(service: UserService, mark: str) -> None:
    person = await service.person(mark, nickname=mark)
    request = pb.DisableProfileRequest(user_id=person.user_id, disabled=True)
    await call(service.users.DisableProfile, request, service="auth-service")

    assert await found(service, mark) == []
    assert await found(service, str(person.user_id)) == []


@pytest.mark.parametrize(
    ("query", "limit", "cursor", "field"),
    [
        ("", 0, "", "query"),
        ("  ", 0, "", "query"),
        ("q" * 65, 0, "", "query"),
        ("q\0", 0, "", "query"),
        ("q", 101, "", "limit"),
        ("q", -1, "", "limit"),
        ("q", 0, "no cursor", "cursor"),
        ("q", 0, write_cursor(1, 2), "cursor"),
        ("q", 0, write_cursor(7, "q", 1), "cursor"),
        ("q", 0, write_cursor(0, "q", 2**63), "cursor"),
    ],
)
async def test_what_cannot_be_asked_is_named(
    service: UserService, query: str, limit: int, cursor: str, field: str
) -> None:
    error = await refusal(service.search(query, limit=limit, cursor=cursor))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


async def test_strangers_may_not_search(service: UserService) -> None:
    request = pb.SearchUsersRequest(query="a")

    assert (await refusal(call(service.users.SearchUsers, request))).code is Code.UNAUTHENTICATED
