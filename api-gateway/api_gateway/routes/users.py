"""/v1/users: profiles, search and presence."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from google.protobuf.field_mask_pb2 import FieldMask

from api_gateway.files.avatars import file_of_avatar, show_to_all
from api_gateway.routes.parts import Cursor, Limit, Svc, UserIdPath, area, signed_in
from api_gateway.schemas.base import Page
from api_gateway.schemas.users import DeletionBody, Me, Presence, Presences, ProfileBody, User
from im.auth.v1.auth_pb2 import DeleteAccountRequest
from im.user.v1 import user_pb2 as pb
from im_common.domain.call_limits import MOST_PRESENCES
from im_common.domain.ids import read_id
from im_common.errors import AppError, Code, invalid, spelling

router = area("/v1/users", tags=["users"], dependencies=[signed_in])

SEARCH_LIMIT = 20


@router.get("/me", summary="The caller's own profile")
async def get_me(svc: Svc) -> Me:
    return Me.of_profile((await svc.users.GetProfile(pb.GetProfileRequest())).profile)


@router.patch("/me", summary="Change the caller's own profile")
async def update_me(body: ProfileBody, svc: Svc) -> Me:
    if not body.model_fields_set:
        raise AppError(Code.INVALID_ARGUMENT, "nothing to change: name a field of the profile")
    request = pb.UpdateProfileRequest(
        profile=body.profile(), update_mask=FieldMask(paths=sorted(body.model_fields_set))
    )
    picture = await file_of_avatar(svc.files, body.avatar)
    me = Me.of_profile((await svc.users.UpdateProfile(request)).profile)
    await show_to_all(svc.files, picture, user_id=me.user_id)
    return me


@router.delete("/me", status_code=204, summary="End the caller's account for good")
async def delete_me(body: DeletionBody, svc: Svc) -> None:
    await svc.auth.DeleteAccount(DeleteAccountRequest(password=body.password))


@router.get("/online", summary="Who of some users is online")
async def get_online(
    svc: Svc, ids: Annotated[str, Query(description="User ids, separated by commas.")]
) -> Presences:
    request = pb.GetOnlineUsersRequest(user_ids=_ids(ids))
    with spelling(user_ids="ids"):
        answer = await svc.presence.GetOnlineUsers(request)
    return Presences(items=[Presence.of(presence) for presence in answer.presences])


@router.get("/{user_id}", summary="Another user's profile")
async def get_user(user_id: UserIdPath, svc: Svc) -> User:
    return User.of((await svc.users.GetUser(pb.GetUserRequest(user_id=user_id))).user)


@router.get("", summary="Find users")
async def search_users(
    svc: Svc,
    q: Annotated[str, Query(min_length=1, max_length=64, description="An id or a name's start.")],
    limit: Limit = SEARCH_LIMIT,
    cursor: Cursor = "",
) -> Page[User]:
    answer = await svc.users.SearchUsers(pb.SearchUsersRequest(query=q, limit=limit, cursor=cursor))
    return Page(
        items=[User.of(user) for user in answer.users], next_cursor=answer.next_cursor or None
    )


def _ids(text: str) -> list[int]:
    ids = [read_id(part.strip()) for part in text.split(",")]
    if len(ids) > MOST_PRESENCES:
        raise invalid("ids", f"may be at most {MOST_PRESENCES}")
    found = [user_id for user_id in ids if user_id is not None]
    if len(found) < len(ids):
        raise invalid("ids", "must be user ids, separated by commas")
    return found
