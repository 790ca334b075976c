"""Profiles: one's own, those of others, and what may be written into them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from im.user.v1 import user_pb2 as pb
from im_common.domain.ids import now_ms
from im_common.errors import Code
from im_common.testing.services import call, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import UserService

User = pb.User


async def create(service: UserService, user_id: int, username: str, nickname: str = "") -> None:
    request = pb.CreateProfileRequest(user_id=user_id, username=username, nickname=nickname)
    await call(service.users.CreateProfile, request, service="auth-service")


async def get(service: UserService, user_id: int) -> pb.User:
    request = pb.GetUserRequest(user_id=user_id)
    return (await call(service.users.GetUser, request, token=service.caller.token)).user


async def disable(service: UserService, user_id: int, disabled: bool = True) -> None:
    request = pb.DisableProfileRequest(user_id=user_id, disabled=disabled)
    await call(service.users.DisableProfile, request, service="auth-service")


async def check(service: UserService, *user_ids: int) -> set[int]:
    request = pb.CheckUsersRequest(user_ids=user_ids)
    answer = await call(service.users.CheckUsers, request, service="chat-service")
    return set(answer.user_ids)


async def test_a_disabled_user_is_not_written_to_until_enabled(service: UserService) -> None:
    person = await service.person()

    await disable(service, person.user_id)
    assert await check(service, person.user_id) == set()
    await disable(service, person.user_id, False)
    assert await check(service, person.user_id) == {person.user_id}


async def test_a_deleted_user_is_not_enabled_again(service: UserService) -> None:
    person = await service.person()
    request = pb.DeleteProfileRequest(user_id=person.user_id)
    await call(service.users.DeleteProfile, request, service="auth-service")

    await disable(service, person.user_id, False)

    assert await check(service, person.user_id) == set()


async def test_a_profile_is_made_once(service: UserService, new_name: Callable[[], str]) -> None:
    person = await service.person(nickname="First")

    await create(service, person.user_id, person.username, "Second")
    await asyncio.gather(*(create(service, 900_001, "twice") for _ in range(5)))

    assert (await get(service, person.user_id)).nickname == "First"
    assert (await get(service, 900_001)).username == "twice"


async def test_two_users_never_have_one_username(service: UserService) -> None:
    person = await service.person()

    error = await refusal(create(service, 900_002, person.username.upper()))

    assert error.code is Code.ALREADY_EXISTS
    assert (await refusal(get(service, 900_002))).code is Code.NOT_FOUND


async def test_others_see_the_public_part_alone(service: UserService) -> None:
    before = now_ms()
    person = await service.person(nickname="Ann 🦊", email="ann@example.org")
    await service.update(person, "birthday", birthday="1999-12-31")

    seen = await get(service, person.user_id)

    assert (seen.user_id, seen.username) == (person.user_id, person.username)
    assert seen.nickname == "Ann 🦊"
    assert before <= seen.created_at <= now_ms()
    assert "ann@example.org" not in str(seen)
    own = await service.profile(person)
    assert (own.email, own.birthday) == ("ann@example.org", "1999-12-31")


async def test_a_user_who_is_not_there_is_not_found(service: UserService) -> None:
    for user_id in (0, -1, 999_999_999_999, 2**63 - 1):
        assert (await refusal(get(service, user_id))).code is Code.NOT_FOUND


async def test_many_users_come_in_the_order_asked_for(service: UserService) -> None:
    first, second = await service.person(), await service.person()
    request = pb.BatchGetUsersRequest(
        user_ids=[second.user_id, 999_999, first.user_id, second.user_id]
    )

    answer = await call(service.users.BatchGetUsers, request, token=service.caller.token)

    assert [user.user_id for user in answer.users] == [second.user_id, first.user_id]


async def test_at_most_a_hundred_at_once(service: UserService) -> None:
    request = pb.BatchGetUsersRequest(user_ids=range(1, 102))

    error = await refusal(call(service.users.BatchGetUsers, request, token=service.caller.token))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_ids")


async def test_only_existing_and_enabled_users_can_be_written_to(service: UserService) -> None:
    person = await service.person()

    assert await check(service, person.user_id, 999_999, person.user_id) == {person.user_id}
    assert await check(service) == set()


async def test_what_is_named_changes_and_the_rest_stays(service: UserService) -> None:
    person = await service.person(nickname="Before")
    await service.update(person, "signature", "gender", user=User(signature="hi", gender=1))

    changed = await service.update(
        person,
        "nickname",
        "avatar",
        "birthday",
        "presence_hidden",
        user=User(nickname=" 小明 ", avatar="https://example.org/a.png", signature="not this"),
        birthday="2000-02-29",
        presence_hidden=True,
    )

    assert changed == await service.profile(person)
    user = changed.user
    assert (user.nickname, user.avatar) == ("小明", "https://example.org/a.png")
    assert (user.signature, user.gender) == ("hi", pb.GENDER_MALE)
    assert (changed.birthday, changed.presence_hidden) == ("2000-02-29", True)
    assert changed.updated_at >= user.created_at
    cleared = await service.update(person, "birthday", "signature", "gender")
    assert (cleared.birthday, cleared.user.signature, cleared.user.gender) == ("", "", 0)


async def test_a_change_of_nothing_changes_nothing(service: UserService) -> None:
    person = await service.person(nickname="Same")
    before = await service.profile(person)

    assert await service.update(person, user=User(nickname="Other")) == before


async def test_own_fields_come_back_as_they_were(service: UserService) -> None:
    person = await service.person()
    profile = pb.Profile()
    own = {"level": 5, "ratio": 1.5, "tags": ["a", {"深": None}], "on": True, "none": {}}
    profile.ext.update(own)

    await service.update(person, "ext", profile=profile)

    assert (await service.profile(person)).ext == profile.ext
    await service.update(person, "ext")
    assert not (await service.profile(person)).ext.fields


BAD: list[tuple[str, dict[str, Any]]] = [
    ("nickname", {"user": User(nickname="")}),
    ("nickname", {"user": User(nickname="   ")}),
    ("nickname", {"user": User(nickname="n" * 65)}),
    ("nickname", {"user": User(nickname="zero\0")}),
    ("nickname", {"user": User(nickname="two\nlines")}),
    ("nickname", {"user": User(nickname="no character \uffff")}),
    ("avatar", {"user": User(avatar="a" * 513)}),
    ("signature", {"user": User(signature="s" * 257)}),
    ("gender", {"user": User(gender=9)}),
    ("birthday", {"birthday": "31.12.1999"}),
    ("birthday", {"birthday": "2001-02-29"}),
    ("birthday", {"birthday": "20010201"}),
    ("birthday", {"birthday": "2001-W01-1"}),
    ("birthday", {"birthday": str((datetime.now(UTC) + timedelta(days=3)).date())}),
]


@pytest.mark.parametrize(("field", "values"), BAD)
async def test_what_cannot_be_taken_is_named(
    service: UserService, field: str, values: dict[str, Any]
) -> None:
    error = await refusal(service.update(service.caller, field, **values))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("value", ["x" * 4096, float("nan"), float("inf")])
async def test_own_fields_are_json_of_4_kib_at_most(service: UserService, value: Any) -> None:
    profile = pb.Profile()
    profile.ext.update({"a": value})

    error = await refusal(service.update(service.caller, "ext", profile=profile))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "ext")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("username", {"username": "é"}),
        ("username", {"username": "bob "}),
        ("username", {"username": "x" * 33}),
        ("email", {"username": "bob", "email": "x" * 255}),
        ("user_id", {"username": "bob", "user_id": 0}),
        ("user_id", {}),
    ],
)
async def test_a_profile_that_no_column_holds_is_refused(
    service: UserService, field: str, values: dict[str, Any]
) -> None:
    request = pb.CreateProfileRequest(**{"user_id": 4711} | values)

    error = await refusal(call(service.users.CreateProfile, request, service="auth-service"))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("is_deep", [False, True])
async def test_a_value_of_no_kind_is_named(service: UserService, is_deep: bool) -> None:
    profile = pb.Profile()
    where = profile.ext.fields["a"].list_value.values.add() if is_deep else profile.ext.fields["a"]
    where.SetInParent()

    error = await refusal(service.update(service.caller, "ext", profile=profile))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "ext")


@pytest.mark.parametrize("path", ["user_id", "email", "username", "disabled", "", "*"])
async def test_other_fields_cannot_be_changed(service: UserService, path: str) -> None:
    error = await refusal(service.update(service.caller, path))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "update_mask")


async def test_one_bad_field_leaves_all_as_they_were(service: UserService) -> None:
    person = await service.person(nickname="Same")

    await refusal(
        service.update(person, "nickname", "gender", user=User(nickname="Other", gender=9))
    )

    assert (await service.profile(person)).user.nickname == "Same"


async def test_a_profile_needs_a_user(service: UserService) -> None:
    stranger = await service.people.new()
    request = pb.GetProfileRequest()

    error = await refusal(call(service.users.GetProfile, request, token=stranger.token))
    assert error.code is Code.NOT_FOUND
    assert (await refusal(call(service.users.GetProfile, request))).code is Code.UNAUTHENTICATED


async def test_names_of_many_users_are_told_to_services(service: UserService) -> None:
    ann = await service.person(nickname="Ann")
    request = pb.GetNamesRequest(user_ids=[ann.user_id, service.people.stranger()])
    answer = await call(service.users.GetNames, request, service="friend-service")
    assert list(answer.names) == [
        pb.Names(user_id=ann.user_id, username=ann.username, nickname="Ann")
    ]
    too_many = pb.GetNamesRequest(user_ids=range(1, 10_002))
    error = await refusal(call(service.users.GetNames, too_many, service="friend-service"))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_ids")
    error = await refusal(call(service.users.GetNames, request, token=ann.token))
    assert error.code is Code.PERMISSION_DENIED
