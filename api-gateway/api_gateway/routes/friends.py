"""/v1/friends and /v1/blocks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from api_gateway.routes.keyed import Keyed, KeyedRoute, keyed
from api_gateway.routes.parts import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    RequestIdPath,
    Svc,
    UserIdPath,
    area,
    signed_in,
)
from api_gateway.schemas.base import Page
from api_gateway.schemas.friends import (
    DIRECTIONS,
    BlockedUser,
    Direction,
    Friend,
    FriendRequest,
    FriendRequestBody,
    FriendRequestMade,
    RemarkBody,
    Status,
)
from im.friend.v1 import friend_pb2 as pb

router = area("/v1/friends", route_class=KeyedRoute, tags=["friends"], dependencies=[signed_in])
blocks_router = area("/v1/blocks", tags=["friends"], dependencies=[signed_in])


@router.post(
    "/requests",
    status_code=201,
    summary="Ask a user for friendship",
    dependencies=[keyed],
    responses={
        200: {"model": FriendRequestMade, "description": "The other one had asked: friends now."}
    },
)
async def send_friend_request(
    body: FriendRequestBody, svc: Svc, response: Response, attempt: Keyed
) -> FriendRequestMade:
    request = pb.SendFriendRequestRequest(
        user_id=body.user_id,
        message=body.message or "",
        is_repeat=attempt is not None and attempt.is_repeat,
    )
    answer = await svc.friends.SendFriendRequest(request)
    if answer.accepted:
        response.status_code = 200
    return FriendRequestMade(request_id=answer.request_id, accepted=answer.accepted or None)


@router.get("/requests", summary="Friend requests, newest first")
async def list_friend_requests(
    svc: Svc,
    direction: Annotated[Direction, Query(description="To the caller, or of the caller.")] = "in",
    status: Annotated[Status, Query(description="What became of them.")] = "pending",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Page[FriendRequest]:
    request = pb.ListFriendRequestsRequest(
        direction=DIRECTIONS[direction], status=status, limit=limit, cursor=cursor
    )
    answer = await svc.friends.ListFriendRequests(request)
    return Page(
        items=[FriendRequest.of(one) for one in answer.requests],
        next_cursor=answer.next_cursor or None,
    )


@router.post("/requests/{id}/accept", status_code=204, summary="Become friends")
async def accept_friend_request(request_id: RequestIdPath, svc: Svc) -> None:
    await svc.friends.AcceptFriendRequest(pb.AcceptFriendRequestRequest(request_id=request_id))


@router.post("/requests/{id}/reject", status_code=204, summary="Turn a request down")
async def reject_friend_request(request_id: RequestIdPath, svc: Svc) -> None:
    await svc.friends.RejectFriendRequest(pb.RejectFriendRequestRequest(request_id=request_id))


@router.delete("/requests/{id}", status_code=204, summary="Take one's own request back")
async def cancel_friend_request(request_id: RequestIdPath, svc: Svc) -> None:
    await svc.friends.CancelFriendRequest(pb.CancelFriendRequestRequest(request_id=request_id))


@router.get("", summary="The caller's friends, by remark or nickname")
async def list_friends(svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = "") -> Page[Friend]:
    answer = await svc.friends.ListFriends(pb.ListFriendsRequest(limit=limit, cursor=cursor))
    return Page(
        items=[Friend.of(friend) for friend in answer.friends],
        next_cursor=answer.next_cursor or None,
    )


@router.delete("/{user_id}", status_code=204, summary="End a friendship, on both sides")
async def delete_friend(user_id: UserIdPath, svc: Svc) -> None:
    await svc.friends.DeleteFriend(pb.DeleteFriendRequest(user_id=user_id))


@router.patch("/{user_id}", status_code=204, summary="Set the caller's own name for a friend")
async def set_remark(user_id: UserIdPath, body: RemarkBody, svc: Svc) -> None:
    await svc.friends.SetRemark(pb.SetRemarkRequest(user_id=user_id, remark=body.remark))


@blocks_router.get("", summary="Whom the caller has blocked, newest first")
async def list_blocked_users(
    svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[BlockedUser]:
    request = pb.ListBlockedUsersRequest(limit=limit, cursor=cursor)
    answer = await svc.friends.ListBlockedUsers(request)
    return Page(
        items=[BlockedUser.of(user) for user in answer.users],
        next_cursor=answer.next_cursor or None,
    )


@blocks_router.put("/{user_id}", status_code=204, summary="Block a user")
async def block_user(user_id: UserIdPath, svc: Svc) -> None:
    await svc.friends.BlockUser(pb.BlockUserRequest(user_id=user_id))


@blocks_router.delete("/{user_id}", status_code=204, summary="Take a block back")
async def unblock_user(user_id: UserIdPath, svc: Svc) -> None:
    await svc.friends.UnblockUser(pb.UnblockUserRequest(user_id=user_id))
