"""Profiles and presence."""

from __future__ import annotations

from typing import Any, Literal

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from pydantic import Field

from api_gateway.schemas.base import Body, JsonStruct, Millis, Text, View
from im.user.v1 import user_pb2 as pb

Gender = Literal["", "male", "female", "other"]

_GENDER_NAMES: dict[int, Gender] = {
    pb.GENDER_MALE: "male",
    pb.GENDER_FEMALE: "female",
    pb.GENDER_OTHER: "other",
}
_GENDERS: dict[Gender, pb.Gender.ValueType] = {
    "": pb.GENDER_UNSPECIFIED,
    "male": pb.GENDER_MALE,
    "female": pb.GENDER_FEMALE,
    "other": pb.GENDER_OTHER,
}
# Beyond these a double does not tell whole numbers apart.
_EXACT = 2**53


class ProfileBody(Body):
    """What is named changes; the rest stays."""

    nickname: Text = ""
    avatar: Text = Field("", description="URL or file id of a picture.")
    gender: Gender = ""
    signature: Text = ""
    birthday: Text = Field("", description="ISO 8601 date, or empty.")
    ext: JsonStruct = Field({}, description="The application's own fields.")
    presence_hidden: bool = False

    def profile(self) -> pb.Profile:
        return pb.Profile(
            user=pb.User(
                nickname=self.nickname,
                avatar=self.avatar,
                gender=_GENDERS[self.gender],
                signature=self.signature,
            ),
            birthday=self.birthday,
            ext=_struct(self.ext),
            presence_hidden=self.presence_hidden,
        )


class DeletionBody(Body):
    password: Text = Field(description="Of the account that ends.")


class User(View):
    user_id: int
    username: str
    nickname: str
    avatar: str
    gender: Gender
    signature: str
    created_at: Millis

    @classmethod
    def of(cls, user: pb.User) -> User:
        return cls(**_user(user))


class Me(User):
    email: str
    birthday: str
    ext: dict[str, Any]
    presence_hidden: bool
    updated_at: Millis

    @classmethod
    def of_profile(cls, profile: pb.Profile) -> Me:
        return cls(
            **_user(profile.user),
            email=profile.email,
            birthday=profile.birthday,
            ext=_whole_numbers(json_format.MessageToDict(profile.ext)),
            presence_hidden=profile.presence_hidden,
            updated_at=profile.updated_at,
        )


class Presence(View):
    user_id: int
    online: bool
    last_seen: int = Field(description="Unix milliseconds; 0 when never seen or hidden.")
    platforms: list[str]

    @classmethod
    def of(cls, presence: pb.Presence) -> Presence:
        return cls(
            user_id=presence.user_id,
            online=presence.online,
            last_seen=presence.last_seen,
            platforms=list(presence.platforms),
        )


class Presences(View):
    items: list[Presence]


def _user(user: pb.User) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "username": user.username,
        "nickname": user.nickname,
        "avatar": user.avatar,
        "gender": _GENDER_NAMES.get(user.gender, ""),
        "signature": user.signature,
        "created_at": user.created_at,
    }


def _struct(values: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def _whole_numbers(value: Any) -> Any:
    """A Struct has doubles only: 1 came in and must not go out as 1.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    return value
