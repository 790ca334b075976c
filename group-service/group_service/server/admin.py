"""GroupAdminService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from group_service.logic import admin
from group_service.model.members import Member
from group_service.server import views
from group_service.svc import ServiceContext
from im.group.v1 import admin_pb2 as pb
from im.group.v1 import group_pb2
from im.group.v1.admin_pb2_grpc import GroupAdminServiceServicer


class GroupAdminServicer(GroupAdminServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def FindGroups(self, request: pb.FindGroupsRequest, _: Any) -> pb.FindGroupsResponse:
        found, next_cursor = await admin.find_groups(
            self._svc,
            group_id=request.group_id,
            user_id=request.user_id,
            text=request.text,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.FindGroupsResponse(groups=map(views.group, found), next_cursor=next_cursor)

    async def ListGroupMembers(
        self, request: pb.ListGroupMembersRequest, _: Any
    ) -> pb.ListGroupMembersResponse:
        found, next_cursor = await admin.list_group_members(
            self._svc, request.group_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListGroupMembersResponse(members=map(_member, found), next_cursor=next_cursor)

    async def EndGroup(self, request: pb.EndGroupRequest, _: Any) -> pb.EndGroupResponse:
        await admin.end_group_of_owner(self._svc, request.group_id)
        return pb.EndGroupResponse()


def _member(found: Member) -> group_pb2.Member:
    return group_pb2.Member(
        user_id=found.user_id,
        role=group_pb2.Role.ValueType(found.role),
        muted_until=found.muted_until,
        joined_at=found.joined_at,
        group_nickname=found.nickname,
    )
