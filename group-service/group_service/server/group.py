"""GroupService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from group_service.logic import groups, members
from group_service.model.groups import Group
from group_service.model.members import Member
from group_service.model.tables import JoinPolicy
from group_service.svc import ServiceContext
from im.group.v1 import group_pb2 as pb
from im.group.v1.group_pb2_grpc import GroupServiceServicer
from im_common.errors import invalid
from im_common.runtime.context import identity


class GroupServicer(GroupServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def CreateGroup(self, request: pb.CreateGroupRequest, _: Any) -> pb.CreateGroupResponse:
        group = await groups.create_group(
            self._svc,
            identity().user_id,
            name=request.name,
            member_ids=request.member_ids,
            join_policy=_join_policy(request.join_policy),
        )
        return pb.CreateGroupResponse(group=_group(group))

    async def GetGroup(self, request: pb.GetGroupRequest, _: Any) -> pb.GetGroupResponse:
        group = await groups.get_group(self._svc, identity().user_id, request.group_id)
        return pb.GetGroupResponse(group=_group(group))

    async def ListMyGroups(
        self, request: pb.ListMyGroupsRequest, _: Any
    ) -> pb.ListMyGroupsResponse:
        found, next_cursor = await groups.list_my_groups(
            self._svc, identity().user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListMyGroupsResponse(
            groups=[_group(group) for group in found], next_cursor=next_cursor
        )

    async def ListMembers(self, request: pb.ListMembersRequest, _: Any) -> pb.ListMembersResponse:
        found, next_cursor = await members.list_members(
            self._svc,
            identity().user_id,
            request.group_id,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.ListMembersResponse(
            members=[_member(member) for member in found], next_cursor=next_cursor
        )

    async def InviteMembers(
        self, request: pb.InviteMembersRequest, _: Any
    ) -> pb.InviteMembersResponse:
        added = await members.invite_members(
            self._svc, identity().user_id, request.group_id, request.user_ids
        )
        return pb.InviteMembersResponse(added=added)

    async def BatchGetSendInfo(
        self, request: pb.BatchGetSendInfoRequest, _: Any
    ) -> pb.BatchGetSendInfoResponse:
        infos = await members.batch_get_send_info(self._svc, request.group_ids)
        return pb.BatchGetSendInfoResponse(
            groups=[
                pb.GroupSendInfo(
                    group_id=info.group_id,
                    member_ids=info.member_ids,
                    manager_ids=info.manager_ids,
                    muted=info.muted,
                    muted_member_ids=info.muted_member_ids,
                )
                for info in infos
            ]
        )


def _join_policy(value: pb.JoinPolicy.ValueType) -> JoinPolicy:
    if value == pb.JOIN_POLICY_UNSPECIFIED:
        return JoinPolicy.APPROVAL
    try:
        return JoinPolicy(value)
    except ValueError:
        raise invalid("join_policy", "is not one that there is") from None


def _group(group: Group) -> pb.Group:
    return pb.Group(
        group_id=group.group_id,
        name=group.name,
        avatar=group.avatar,
        announcement=group.announcement,
        owner_id=group.owner_id,
        join_policy=pb.JoinPolicy.ValueType(group.join_policy),
        muted=group.muted,
        member_count=group.member_count,
        created_at=group.created_at,
    )


def _member(member: Member) -> pb.Member:
    return pb.Member(
        user_id=member.user_id,
        role=pb.Role.ValueType(member.role),
        muted_until=member.muted_until,
        joined_at=member.joined_at,
    )
