"""The routes of groups: what is asked of the services, and what the client gets."""

from __future__ import annotations

from typing import Any

from im.group.v1 import group_pb2 as group

# A fixture of conftest.py, which tests do not import.
Check = Any


_GROUP: dict[str, Any] = {
    "group_id": 1001,
    "name": "Sea",
    "avatar": "",
    "description": "about",
    "announcement": "hello",
    "owner_id": 1001,
    "join_policy": "invite_only",
    "muted": False,
    "member_count": 2,
    "created_at": 41,
}
_GROUP_PB = group.Group(**{**_GROUP, "join_policy": group.JOIN_POLICY_INVITE_ONLY})
_READER: dict[str, Any] = {
    "user_id": 1002,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "b.png",
    "group_nickname": "the builder",
}
_MEMBER: dict[str, Any] = {**_READER, "role": "admin", "muted_until": 0, "joined_at": 42}
_JOIN: dict[str, Any] = {
    "request_id": 8,
    "group_id": 1001,
    "user_id": 1003,
    "username": "eve",
    "nickname": "Eve",
    "avatar": "e.png",
    "message": "me",
    "created_at": 43,
}


def _group_change() -> group.UpdateGroupRequest:
    request = group.UpdateGroupRequest(
        group=group.Group(group_id=1001, name="Lake", join_policy=group.JOIN_POLICY_OPEN)
    )
    request.update_mask.paths.extend(["join_policy", "name"])
    return request


async def test_a_new_group_is_shown(check: Check) -> None:
    await check(
        "POST /v1/groups",
        "CreateGroup",
        group.CreateGroupRequest(
            name="Sea", member_ids=[1002], join_policy=group.JOIN_POLICY_INVITE_ONLY
        ),
        group.CreateGroupResponse(group=_GROUP_PB),
        201,
        _GROUP,
        {"name": "Sea", "member_ids": [1002], "join_policy": "invite_only"},
    )


async def test_my_groups_are_listed(check: Check) -> None:
    await check(
        "GET /v1/groups",
        "ListMyGroups",
        group.ListMyGroupsRequest(limit=50),
        group.ListMyGroupsResponse(groups=[_GROUP_PB]),
        body={"items": [_GROUP], "next_cursor": None},
    )


async def test_a_group_is_shown(check: Check) -> None:
    await check(
        "GET /v1/groups/{group_id}",
        "GetGroup",
        group.GetGroupRequest(group_id=1001),
        group.GetGroupResponse(group=_GROUP_PB),
        body=_GROUP,
        path="/v1/groups/1001",
    )


async def test_only_what_the_patch_names_changes_in_a_group(check: Check) -> None:
    await check(
        "PATCH /v1/groups/{group_id}",
        "UpdateGroup",
        _group_change(),
        group.UpdateGroupResponse(group=_GROUP_PB),
        body=_GROUP,
        sent={"name": "Lake", "join_policy": "open"},
        path="/v1/groups/1001",
    )


async def test_a_group_can_be_dismissed(check: Check) -> None:
    await check(
        "DELETE /v1/groups/{group_id}",
        "DismissGroup",
        group.DismissGroupRequest(group_id=1001),
        group.DismissGroupResponse(),
        204,
        path="/v1/groups/1001",
    )


async def test_members_are_listed_with_their_roles(check: Check) -> None:
    await check(
        "GET /v1/groups/{group_id}/members",
        "ListMembers",
        group.ListMembersRequest(group_id=1001, limit=50),
        group.ListMembersResponse(
            members=[group.Member(**{**_MEMBER, "role": group.ROLE_ADMIN})], next_cursor="m"
        ),
        body={"items": [_MEMBER], "next_cursor": "m"},
        path="/v1/groups/1001/members",
    )


async def test_inviting_tells_who_was_added(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/members",
        "InviteMembers",
        group.InviteMembersRequest(group_id=1001, user_ids=[1002, 1003]),
        group.InviteMembersResponse(added=[1003]),
        body={"added": [1003]},
        sent={"user_ids": [1002, 1003]},
        path="/v1/groups/1001/members",
    )


async def test_a_member_can_be_removed(check: Check) -> None:
    await check(
        "DELETE /v1/groups/{group_id}/members/{user_id}",
        "RemoveMember",
        group.RemoveMemberRequest(group_id=1001, user_id=1002),
        group.RemoveMemberResponse(),
        204,
        path="/v1/groups/1001/members/1002",
    )


async def test_a_member_can_be_made_an_admin(check: Check) -> None:
    await check(
        "PATCH /v1/groups/{group_id}/members/{user_id}",
        "SetMemberRole",
        group.SetMemberRoleRequest(group_id=1001, user_id=1002, role=group.ROLE_ADMIN),
        group.SetMemberRoleResponse(),
        204,
        sent={"role": "admin"},
        path="/v1/groups/1001/members/1002",
    )


async def test_a_member_can_be_muted(check: Check) -> None:
    await check(
        "PATCH /v1/groups/{group_id}/members/{user_id}",
        "MuteMember",
        group.MuteMemberRequest(group_id=1001, user_id=1002, muted_until=99),
        group.MuteMemberResponse(),
        204,
        sent={"muted_until": 99},
        path="/v1/groups/1001/members/1002",
    )


async def test_one_names_oneself_in_a_group(check: Check) -> None:
    await check(
        "PATCH /v1/groups/{group_id}/members/{user_id}",
        "SetGroupNickname",
        group.SetGroupNicknameRequest(group_id=1001, user_id=1001, nickname=""),
        group.SetGroupNicknameResponse(),
        204,
        sent={"nickname": ""},
        path="/v1/groups/1001/members/1001",
    )


async def test_the_readers_of_a_message_are_listed(check: Check) -> None:
    await check(
        "GET /v1/groups/{group_id}/readers",
        "ListReaders",
        group.ListReadersRequest(group_id=1001, seq=7, limit=50),
        group.ListReadersResponse(readers=[group.Reader(**_READER)], next_cursor="r"),
        body={"items": [_READER], "next_cursor": "r"},
        path="/v1/groups/1001/readers?seq=7",
    )


async def test_joining_may_have_to_wait_for_approval(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/join",
        "JoinGroup",
        group.JoinGroupRequest(group_id=1001, message="me"),
        group.JoinGroupResponse(joined=False, request_id=8),
        body={"joined": False, "request_id": 8},
        sent={"message": "me"},
        path="/v1/groups/1001/join",
    )


async def test_joining_without_a_body_works(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/join",
        "JoinGroup",
        group.JoinGroupRequest(group_id=1001),
        group.JoinGroupResponse(joined=True),
        body={"joined": True},
        path="/v1/groups/1001/join",
    )


async def test_a_group_can_be_left(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/leave",
        "LeaveGroup",
        group.LeaveGroupRequest(group_id=1001),
        group.LeaveGroupResponse(),
        204,
        path="/v1/groups/1001/leave",
    )


async def test_a_group_can_be_handed_over(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/transfer",
        "TransferOwnership",
        group.TransferOwnershipRequest(group_id=1001, user_id=1002),
        group.TransferOwnershipResponse(),
        204,
        sent={"user_id": 1002},
        path="/v1/groups/1001/transfer",
    )


async def test_a_group_can_be_muted(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/mute",
        "MuteGroup",
        group.MuteGroupRequest(group_id=1001, muted=True),
        group.MuteGroupResponse(),
        204,
        sent={"muted": True},
        path="/v1/groups/1001/mute",
    )


async def test_requests_to_join_are_listed(check: Check) -> None:
    await check(
        "GET /v1/groups/{group_id}/requests",
        "ListJoinRequests",
        group.ListJoinRequestsRequest(group_id=1001, limit=50),
        group.ListJoinRequestsResponse(requests=[group.JoinRequest(**_JOIN)]),
        body={"items": [_JOIN], "next_cursor": None},
        path="/v1/groups/1001/requests",
    )


async def test_a_request_to_join_can_be_accepted(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/requests/{id}/accept",
        "HandleJoinRequest",
        group.HandleJoinRequestRequest(group_id=1001, request_id=8, accept=True),
        group.HandleJoinRequestResponse(),
        204,
        path="/v1/groups/1001/requests/8/accept",
    )


async def test_a_request_to_join_can_be_rejected(check: Check) -> None:
    await check(
        "POST /v1/groups/{group_id}/requests/{id}/reject",
        "HandleJoinRequest",
        group.HandleJoinRequestRequest(group_id=1001, request_id=8, accept=False),
        group.HandleJoinRequestResponse(),
        204,
        path="/v1/groups/1001/requests/8/reject",
    )
