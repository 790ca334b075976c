"""/v1/groups: groups themselves, and joining them."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask

from api_gateway.files.avatars import file_of_avatar, show_to_all
from api_gateway.routes.keyed import Keyed, KeyedRoute, keyed
from api_gateway.routes.parts import (
    DEFAULT_LIMIT,
    Cursor,
    GroupIdPath,
    Limit,
    RequestIdPath,
    SeqQuery,
    Svc,
    area,
    signed_in,
)
from api_gateway.schemas.base import Page
from api_gateway.schemas.groups import (
    JOIN_POLICIES,
    Group,
    GroupBody,
    GroupChangeBody,
    JoinBody,
    Joined,
    JoinRequest,
    MuteBody,
    Reader,
    TransferBody,
)
from im.group.v1 import group_pb2 as pb
from im_common.errors import AppError, Code

router = area("/v1/groups", route_class=KeyedRoute, tags=["groups"], dependencies=[signed_in])


@router.post("", status_code=201, summary="Make a group", dependencies=[keyed])
async def create_group(body: GroupBody, svc: Svc, attempt: Keyed) -> Group:
    request = pb.CreateGroupRequest(name=body.name, member_ids=body.member_ids)
    if attempt is not None:
        request.creation_key = attempt.print
    if body.join_policy is not None:
        request.join_policy = JOIN_POLICIES[body.join_policy]
    return Group.of((await svc.groups.CreateGroup(request)).group)


@router.get("", summary="The caller's groups")
async def list_my_groups(
    svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[Group]:
    answer = await svc.groups.ListMyGroups(pb.ListMyGroupsRequest(limit=limit, cursor=cursor))
    return Page(
        items=[Group.of(group) for group in answer.groups],
        next_cursor=answer.next_cursor or None,
    )


@router.get("/{group_id}", summary="A group")
async def get_group(group_id: GroupIdPath, svc: Svc) -> Group:
    return Group.of((await svc.groups.GetGroup(pb.GetGroupRequest(group_id=group_id))).group)


@router.patch("/{group_id}", summary="Change a group")
async def update_group(group_id: GroupIdPath, body: GroupChangeBody, svc: Svc) -> Group:
    if not body.model_fields_set:
        raise AppError(Code.INVALID_ARGUMENT, "nothing to change: name a field of the group")
    request = pb.UpdateGroupRequest(
        group=body.group(group_id), update_mask=FieldMask(paths=sorted(body.model_fields_set))
    )
    picture = await file_of_avatar(svc.files, body.avatar)
    changed = await svc.groups.UpdateGroup(request)
    await show_to_all(svc.files, picture, group_id=group_id)
    return Group.of(changed.group)


@router.delete("/{group_id}", status_code=204, summary="End a group")
async def dismiss_group(group_id: GroupIdPath, svc: Svc) -> None:
    await svc.groups.DismissGroup(pb.DismissGroupRequest(group_id=group_id))


@router.post("/{group_id}/join", summary="Join a group, or ask to", dependencies=[keyed])
async def join_group(group_id: GroupIdPath, svc: Svc, body: JoinBody | None = None) -> Joined:
    message = body.message if body else None
    request = pb.JoinGroupRequest(group_id=group_id, message=message or "")
    answer = await svc.groups.JoinGroup(request)
    return Joined(joined=answer.joined, request_id=answer.request_id or None)


@router.post("/{group_id}/leave", status_code=204, summary="Leave a group")
async def leave_group(group_id: GroupIdPath, svc: Svc) -> None:
    await svc.groups.LeaveGroup(pb.LeaveGroupRequest(group_id=group_id))


@router.post("/{group_id}/transfer", status_code=204, summary="Make another member the owner")
async def transfer_ownership(group_id: GroupIdPath, body: TransferBody, svc: Svc) -> None:
    await svc.groups.TransferOwnership(
        pb.TransferOwnershipRequest(group_id=group_id, user_id=body.user_id)
    )


@router.post(
    "/{group_id}/mute", status_code=204, summary="Let only owner and admins write, or all again"
)
async def mute_group(group_id: GroupIdPath, body: MuteBody, svc: Svc) -> None:
    await svc.groups.MuteGroup(pb.MuteGroupRequest(group_id=group_id, muted=body.muted))


@router.get("/{group_id}/requests", summary="Pending requests to join")
async def list_join_requests(
    group_id: GroupIdPath, svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[JoinRequest]:
    answer = await svc.groups.ListJoinRequests(
        pb.ListJoinRequestsRequest(group_id=group_id, limit=limit, cursor=cursor)
    )
    return Page(
        items=[JoinRequest.of(request) for request in answer.requests],
        next_cursor=answer.next_cursor or None,
    )


@router.get("/{group_id}/readers", summary="Who has read a message, for who sent it")
async def list_readers(
    group_id: GroupIdPath,
    seq: SeqQuery,
    svc: Svc,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Page[Reader]:
    answer = await svc.groups.ListReaders(
        pb.ListReadersRequest(group_id=group_id, seq=seq, limit=limit, cursor=cursor)
    )
    return Page(
        items=[Reader.of(reader) for reader in answer.readers],
        next_cursor=answer.next_cursor or None,
    )


@router.post("/{group_id}/requests/{id}/accept", status_code=204, summary="Let a user join")
async def accept_join_request(group_id: GroupIdPath, request_id: RequestIdPath, svc: Svc) -> None:
    await _handle(svc, group_id, request_id, accept=True)


@router.post("/{group_id}/requests/{id}/reject", status_code=204, summary="Turn a user down")
async def reject_join_request(group_id: GroupIdPath, request_id: RequestIdPath, svc: Svc) -> None:
    await _handle(svc, group_id, request_id, accept=False)


async def _handle(svc: Svc, group_id: int, request_id: int, *, accept: bool) -> None:
    await svc.groups.HandleJoinRequest(
        pb.HandleJoinRequestRequest(group_id=group_id, request_id=request_id, accept=accept)
    )
