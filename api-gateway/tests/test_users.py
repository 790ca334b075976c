"""The routes of profiles and presence: what is asked of the services, and what the client gets."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.struct_pb2 import Struct

from im.user.v1 import user_pb2 as user
from im_common.errors import AppError, Code

# A fixture of conftest.py, which tests do not import.
Check = Any
Gateway = Any


_USER: dict[str, Any] = {
    "user_id": 1002,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "a.png",
    "gender": "male",
    "signature": "hm",
    "created_at": 21,
}
_USER_PB = user.User(**{**_USER, "gender": user.GENDER_MALE})
_EXT = {"level": 3, "ratio": 0.5, "tags": ["a", None]}
_PROFILE: dict[str, Any] = {
    **_USER,
    "email": "bob@example.com",
    "birthday": "2001-02-03",
    "ext": _EXT,
    "presence_hidden": True,
    "updated_at": 22,
}


def _struct(values: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


_PROFILE_PB = user.Profile(
    user=_USER_PB,
    email="bob@example.com",
    birthday="2001-02-03",
    ext=_struct(_EXT),
    presence_hidden=True,
    updated_at=22,
)


def _change() -> user.UpdateProfileRequest:
    request = user.UpdateProfileRequest(
        profile=user.Profile(
            user=user.User(nickname="Bob", gender=user.GENDER_OTHER), ext=_struct(_EXT)
        )
    )
    request.update_mask.paths.extend(["ext", "gender", "nickname"])
    return request


async def test_my_profile_shows_what_is_only_mine(check: Check) -> None:
    await check(
        "GET /v1/users/me",
        "GetProfile",
        user.GetProfileRequest(),
        user.GetProfileResponse(profile=_PROFILE_PB),
        body=_PROFILE,
    )


async def test_only_what_the_patch_names_changes_in_my_profile(check: Check) -> None:
    await check(
        "PATCH /v1/users/me",
        "UpdateProfile",
        _change(),
        user.UpdateProfileResponse(profile=_PROFILE_PB),
        body=_PROFILE,
        sent={"nickname": "Bob", "gender": "other", "ext": _EXT},
    )


async def test_another_users_profile_is_public_facts_only(check: Check) -> None:
    await check(
        "GET /v1/users/{user_id}",
        "GetUser",
        user.GetUserRequest(user_id=1002),
        user.GetUserResponse(user=_USER_PB),
        body=_USER,
        path="/v1/users/1002",
    )


async def test_users_are_found_in_pages(check: Check) -> None:
    await check(
        "GET /v1/users",
        "SearchUsers",
        user.SearchUsersRequest(query="bo", limit=5, cursor="c"),
        user.SearchUsersResponse(users=[_USER_PB], next_cursor="d"),
        body={"items": [_USER], "next_cursor": "d"},
        path="/v1/users?q=bo&limit=5&cursor=c",
    )


async def test_presence_is_told_for_each_id_that_is_asked(check: Check) -> None:
    await check(
        "GET /v1/users/online",
        "GetOnlineUsers",
        user.GetOnlineUsersRequest(user_ids=[1001, 1002]),
        user.GetOnlineUsersResponse(
            presences=[
                user.Presence(user_id=1001, online=True, last_seen=5, platforms=["ios", "web"]),
                user.Presence(user_id=1002),
            ]
        ),
        body={
            "items": [
                {"user_id": 1001, "online": True, "last_seen": 5, "platforms": ["ios", "web"]},
                {"user_id": 1002, "online": False, "last_seen": 0, "platforms": []},
            ]
        },
        path="/v1/users/online?ids=1001,1002",
    )


async def test_an_export_that_is_not_whole_says_so(gateway: Gateway) -> None:
    gateway.services.answers["GetProfile"] = user.GetProfileResponse()
    gateway.services.answers["ListSessions"] = AppError(Code.UNAVAILABLE, "away")
    response = await gateway.request("GET", "/v1/users/me/export")
    assert response.status_code == 200
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["kind"] for line in lines] == ["profile", "error"]
    assert lines[-1]["data"]["code"] == "UNAVAILABLE"
    gateway.services.answers["GetProfile"] = AppError(Code.UNAVAILABLE, "away")
    assert (await gateway.request("GET", "/v1/users/me/export")).status_code == 503
