"""/v1/groups/{group_id}/members."""

from __future__ import annotations

from api_gateway.routes.keyed import KeyedRoute, keyed
from api_gateway.routes.parts import (
    DEFAULT_LIMIT,
    Cursor,
    GroupIdPath,
    Limit,
    Svc,
    UserIdPath,
    area,
    signed_in,
)
from api_gateway.schemas.base import Page
from api_gateway.schemas.groups import ROLES, Added, InviteBody, Member, MemberChangeBody
from im.group.v1 import group_pb2 as pb
from im_common.errors import AppError, Code, invalid

router = area(
    "/v1/groups/{group_id}/members",
    route_class=KeyedRoute,
    tags=["groups"],
    dependencies=[signed_in],
)


@router.get("", summary="The members of a group")
async def list_members(
    group_id: GroupIdPath, svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[Member]:
    answer = await svc.groups.ListMembers(
        pb.ListMembersRequest(group_id=group_id, limit=limit, cursor=cursor)
    )
    return Page(
        items=[Member.of(member) for member in answer.members],
        next_cursor=answer.next_cursor or None,
    )


@router.post("", summary="Add users to a group", dependencies=[keyed])
async def invite_members(group_id: GroupIdPath, body: InviteBody, svc: Svc) -> Added:
    answer = await svc.groups.InviteMembers(
        pb.InviteMembersRequest(group_id=group_id, user_ids=body.user_ids)
    )
    return Added(added=list(answer.added))


@router.delete("/{user_id}", status_code=204, summary="Take a member out of a group")
async def remove_member(group_id: GroupIdPath, user_id: UserIdPath, svc: Svc) -> None:
    await svc.groups.RemoveMember(pb.RemoveMemberRequest(group_id=group_id, user_id=user_id))


@router.patch("/{user_id}", status_code=204, summary="Set a role, mute a member, or name oneself")
async def change_member(
    group_id: GroupIdPath, user_id: UserIdPath, body: MemberChangeBody, svc: Svc
) -> None:
    if body.role is None and body.muted_until is None and body.nickname is None:
        raise AppError(
            Code.INVALID_ARGUMENT, "nothing to change: give role, muted_until or nickname"
        )
    if body.nickname is not None and (body.role is not None or body.muted_until is not None):
        # One of them is refused in any case: nothing is to be done then.
        raise invalid("nickname", "is for oneself, and role and muted_until are for others")
    if body.role is not None:
        await svc.groups.SetMemberRole(
            pb.SetMemberRoleRequest(group_id=group_id, user_id=user_id, role=ROLES[body.role])
        )
    if body.muted_until is not None:
        await svc.groups.MuteMember(
            pb.MuteMemberRequest(group_id=group_id, user_id=user_id, muted_until=body.muted_until)
        )
    if body.nickname is not None:
        await svc.groups.SetGroupNickname(
            pb.SetGroupNicknameRequest(group_id=group_id, user_id=user_id, nickname=body.nickname)
        )
