"""GroupService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from group_service.logic import forgetting, groups, joining, members
from group_service.server import views
from group_service.svc import ServiceContext
from im.group.v1 import group_pb2 as pb
from im.group.v1.group_pb2_grpc import GroupServiceServicer
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
            join_policy=views.join_policy(request.join_policy),
            key=request.creation_key,
        )
        return pb.CreateGroupResponse(group=views.group(group))

    async def GetGroup(self, request: pb.GetGroupRequest, _: Any) -> pb.GetGroupResponse:
        group = await groups.get_group(self._svc, identity().user_id, request.group_id)
        return pb.GetGroupResponse(group=views.group(group))

    async def ListMyGroups(
        self, request: pb.ListMyGroupsRequest, _: Any
    ) -> pb.ListMyGroupsResponse:
        found, next_cursor = await groups.list_my_groups(
            self._svc, identity().user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListMyGroupsResponse(
            groups=[views.group(group) for group in found], next_cursor=next_cursor
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
            members=[views.member(*one) for one in found], next_cursor=next_cursor
        )

    async def InviteMembers(
        self, request: pb.InviteMembersRequest, _: Any
    ) -> pb.InviteMembersResponse:
        added = await members.invite_members(
            self._svc, identity().user_id, request.group_id, request.user_ids
        )
        return pb.InviteMembersResponse(added=added)

    async def UpdateGroup(self, request: pb.UpdateGroupRequest, _: Any) -> pb.UpdateGroupResponse:
        group = await groups.update_group(
            self._svc,
            identity().user_id,
            request.group.group_id,
            list(request.update_mask.paths),
            views.wanted(request),
        )
        return pb.UpdateGroupResponse(group=views.group(group))

    async def DismissGroup(
        self, request: pb.DismissGroupRequest, _: Any
    ) -> pb.DismissGroupResponse:
        await groups.dismiss_group(self._svc, identity().user_id, request.group_id)
        return pb.DismissGroupResponse()

    async def MuteGroup(self, request: pb.MuteGroupRequest, _: Any) -> pb.MuteGroupResponse:
        await groups.mute_group(self._svc, identity().user_id, request.group_id, request.muted)
        return pb.MuteGroupResponse()

    async def TransferOwnership(
        self, request: pb.TransferOwnershipRequest, _: Any
    ) -> pb.TransferOwnershipResponse:
        await groups.transfer_ownership(
            self._svc, identity().user_id, request.group_id, request.user_id
        )
        return pb.TransferOwnershipResponse()

    async def JoinGroup(self, request: pb.JoinGroupRequest, _: Any) -> pb.JoinGroupResponse:
        joined, request_id = await joining.join_group(
            self._svc, identity().user_id, request.group_id, request.message
        )
        return pb.JoinGroupResponse(joined=joined, request_id=request_id)

    async def ListJoinRequests(
        self, request: pb.ListJoinRequestsRequest, _: Any
    ) -> pb.ListJoinRequestsResponse:
        found, next_cursor = await joining.list_join_requests(
            self._svc,
            identity().user_id,
            request.group_id,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.ListJoinRequestsResponse(
            requests=[views.join_request(*one) for one in found], next_cursor=next_cursor
        )

    async def HandleJoinRequest(
        self, request: pb.HandleJoinRequestRequest, _: Any
    ) -> pb.HandleJoinRequestResponse:
        await joining.handle_join_request(
            self._svc,
            identity().user_id,
            request.group_id,
            request.request_id,
            accept=request.accept,
        )
        return pb.HandleJoinRequestResponse()

    async def LeaveGroup(self, request: pb.LeaveGroupRequest, _: Any) -> pb.LeaveGroupResponse:
        await members.leave_group(self._svc, identity().user_id, request.group_id)
        return pb.LeaveGroupResponse()

    async def RemoveMember(
        self, request: pb.RemoveMemberRequest, _: Any
    ) -> pb.RemoveMemberResponse:
        await members.remove_member(
            self._svc, identity().user_id, request.group_id, request.user_id
        )
        return pb.RemoveMemberResponse()

    async def SetMemberRole(
        self, request: pb.SetMemberRoleRequest, _: Any
    ) -> pb.SetMemberRoleResponse:
        role = views.role(request.role)
        await members.set_member_role(
            self._svc, identity().user_id, request.group_id, request.user_id, role
        )
        return pb.SetMemberRoleResponse()

    async def MuteMember(self, request: pb.MuteMemberRequest, _: Any) -> pb.MuteMemberResponse:
        await members.mute_member(
            self._svc,
            identity().user_id,
            request.group_id,
            request.user_id,
            request.muted_until,
        )
        return pb.MuteMemberResponse()

    async def SetGroupNickname(
        self, request: pb.SetGroupNicknameRequest, _: Any
    ) -> pb.SetGroupNicknameResponse:
        await members.set_group_nickname(
            self._svc, identity().user_id, request.group_id, request.user_id, request.nickname
        )
        return pb.SetGroupNicknameResponse()

    async def ListReaders(self, request: pb.ListReadersRequest, _: Any) -> pb.ListReadersResponse:
        found, next_cursor = await members.list_readers(
            self._svc,
            identity().user_id,
            request.group_id,
            request.seq,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.ListReadersResponse(
            readers=[views.reader(*one) for one in found], next_cursor=next_cursor
        )

    async def ForgetUser(self, request: pb.ForgetUserRequest, _: Any) -> pb.ForgetUserResponse:
        return pb.ForgetUserResponse(done=await forgetting.forget_user(self._svc, request.user_id))

    async def BatchGetSendInfo(
        self, request: pb.BatchGetSendInfoRequest, _: Any
    ) -> pb.BatchGetSendInfoResponse:
        asked = {one.group_id: one.user_ids for one in request.groups}
        infos = await members.batch_get_send_info(self._svc, asked)
        return pb.BatchGetSendInfoResponse(
            groups=[
                pb.GroupSendInfo(
                    group_id=info.group_id,
                    member_ids=info.member_ids,
                    manager_ids=info.manager_ids,
                    muted=info.muted,
                    muted_member_ids=info.muted_member_ids,
                    member_count=info.member_count,
                )
                for info in infos
            ]
        )
