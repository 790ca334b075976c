"""UserService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, struct_pb2

from im.user.v1 import user_pb2 as pb
from im.user.v1.user_pb2_grpc import UserServiceServicer
from im_common.errors import invalid
from im_common.runtime.context import identity
from user_service.logic import profiles, search
from user_service.model.users import Profile, User
from user_service.svc import ServiceContext


class UserServicer(UserServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def GetUser(self, request: pb.GetUserRequest, _: Any) -> pb.GetUserResponse:
        return pb.GetUserResponse(user=_user(await profiles.get_user(self._svc, request.user_id)))

    async def BatchGetUsers(
        self, request: pb.BatchGetUsersRequest, _: Any
    ) -> pb.BatchGetUsersResponse:
        found = await profiles.batch_get_users(self._svc, request.user_ids)
        return pb.BatchGetUsersResponse(users=map(_user, found))

    async def GetProfile(self, request: pb.GetProfileRequest, _: Any) -> pb.GetProfileResponse:
        found = await profiles.get_profile(self._svc, identity().user_id)
        return pb.GetProfileResponse(profile=_profile(found))

    async def UpdateProfile(
        self, request: pb.UpdateProfileRequest, _: Any
    ) -> pb.UpdateProfileResponse:
        changed = await profiles.update_profile(
            self._svc, identity().user_id, request.update_mask.paths, _fields(request.profile)
        )
        return pb.UpdateProfileResponse(profile=_profile(changed))

    async def SearchUsers(self, request: pb.SearchUsersRequest, _: Any) -> pb.SearchUsersResponse:
        found, next_cursor = await search.search_users(
            self._svc, request.query, limit=request.limit, cursor=request.cursor
        )
        return pb.SearchUsersResponse(users=map(_user, found), next_cursor=next_cursor)

    async def DeleteProfile(
        self, request: pb.DeleteProfileRequest, _: Any
    ) -> pb.DeleteProfileResponse:
        await profiles.delete_profile(self._svc, request.user_id)
        return pb.DeleteProfileResponse()

    async def CreateProfile(
        self, request: pb.CreateProfileRequest, _: Any
    ) -> pb.CreateProfileResponse:
        await profiles.create_profile(
            self._svc,
            user_id=request.user_id,
            username=request.username,
            nickname=request.nickname,
            email=request.email,
        )
        return pb.CreateProfileResponse()

    async def DisableProfile(
        self, request: pb.DisableProfileRequest, _: Any
    ) -> pb.DisableProfileResponse:
        await profiles.disable_profile(self._svc, request.user_id, request.disabled)
        return pb.DisableProfileResponse()

    async def GetNames(self, request: pb.GetNamesRequest, _: Any) -> pb.GetNamesResponse:
        found = await profiles.get_names(self._svc, request.user_ids)
        return pb.GetNamesResponse(names=[pb.Names(**names._asdict()) for names in found])

    async def CheckUsers(self, request: pb.CheckUsersRequest, _: Any) -> pb.CheckUsersResponse:
        return pb.CheckUsersResponse(
            user_ids=await profiles.check_users(self._svc, request.user_ids)
        )


def _user(user: User) -> pb.User:
    return pb.User(
        user_id=user.user_id,
        username=user.username,
        nickname=user.nickname,
        avatar=user.avatar,
        gender=pb.Gender.ValueType(user.gender),
        signature=user.signature,
        created_at=user.created_at,
    )


def _profile(profile: Profile) -> pb.Profile:
    return pb.Profile(
        user=_user(profile.user),
        email=profile.email,
        birthday=profile.birthday,
        ext=_struct(profile.ext),
        presence_hidden=profile.presence_hidden,
        updated_at=profile.updated_at,
    )


def _struct(text: str) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    # Most have none.
    return struct if text == "{}" else json_format.Parse(text, struct)


def _plain(value: Any) -> Any:
    """A Struct as what JSON is made of. (json_format would refuse what the rules are to name.)

    Raises:
        AppError: INVALID_ARGUMENT for a value of no kind, which is nothing in JSON.
    """
    if isinstance(value, struct_pb2.Struct):
        return {key: _plain(inner) for key, inner in value.fields.items()}
    if isinstance(value, struct_pb2.ListValue):
        return [_plain(inner) for inner in value.values]
    kind = value.WhichOneof("kind")
    if kind is None:
        raise invalid("ext", "has a value of no kind")
    if kind == "null_value":
        return None
    inner = getattr(value, kind)
    return _plain(inner) if kind in ("struct_value", "list_value") else inner


def _fields(profile: pb.Profile) -> dict[str, Any]:
    return {
        "nickname": profile.user.nickname,
        "avatar": profile.user.avatar,
        "gender": profile.user.gender,
        "signature": profile.user.signature,
        "birthday": profile.birthday,
        "ext": _plain(profile.ext),
        "presence_hidden": profile.presence_hidden,
    }
