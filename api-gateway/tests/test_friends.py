"""The routes of friends and block lists: what is asked of the services, and what the client gets."""

from __future__ import annotations

from typing import Any

from im.friend.v1 import friend_pb2 as friend

# A fixture of conftest.py, which tests do not import.
Check = Any


_REQUEST: dict[str, Any] = {
    "request_id": 7,
    "from_user_id": 1002,
    "to_user_id": 1001,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "b.png",
    "message": "hi",
    "status": "pending",
    "created_at": 31,
}
_FRIEND: dict[str, Any] = {
    "user_id": 1002,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "b.png",
    "remark": "Bobby",
    "online": True,
    "last_seen": 34,
    "created_at": 32,
}
_BLOCKED: dict[str, Any] = {
    "user_id": 1003,
    "username": "eve",
    "nickname": "Eve",
    "avatar": "",
    "created_at": 33,
}


async def test_asking_for_friendship_gives_a_request_id(check: Check) -> None:
    await check(
        "POST /v1/friends/requests",
        "SendFriendRequest",
        friend.SendFriendRequestRequest(user_id=1002, message="hi"),
        friend.SendFriendRequestResponse(request_id=7),
        201,
        {"request_id": 7},
        {"user_id": 1002, "message": "hi"},
    )


async def test_asking_who_has_asked_makes_friends(check: Check) -> None:
    await check(
        "POST /v1/friends/requests",
        "SendFriendRequest",
        friend.SendFriendRequestRequest(user_id=1002),
        friend.SendFriendRequestResponse(request_id=7, accepted=True),
        200,
        {"request_id": 7, "accepted": True},
        {"user_id": 1002},
    )


async def test_a_request_can_be_taken_back(check: Check) -> None:
    await check(
        "DELETE /v1/friends/requests/{id}",
        "CancelFriendRequest",
        friend.CancelFriendRequestRequest(request_id=7),
        friend.CancelFriendRequestResponse(),
        204,
        path="/v1/friends/requests/7",
    )


async def test_friend_requests_are_listed_by_what_became_of_them(check: Check) -> None:
    await check(
        "GET /v1/friends/requests",
        "ListFriendRequests",
        friend.ListFriendRequestsRequest(
            direction=friend.DIRECTION_IN, status="all", limit=5, cursor="c"
        ),
        friend.ListFriendRequestsResponse(
            requests=[friend.FriendRequest(**_REQUEST)], next_cursor="d"
        ),
        body={"items": [_REQUEST], "next_cursor": "d"},
        path="/v1/friends/requests?status=all&limit=5&cursor=c",
    )


async def test_friend_requests_are_listed_by_direction(check: Check) -> None:
    await check(
        "GET /v1/friends/requests",
        "ListFriendRequests",
        friend.ListFriendRequestsRequest(
            direction=friend.DIRECTION_OUT, status="pending", limit=50
        ),
        friend.ListFriendRequestsResponse(requests=[friend.FriendRequest(**_REQUEST)]),
        body={"items": [_REQUEST], "next_cursor": None},
        path="/v1/friends/requests?direction=out",
    )


async def test_a_friend_request_can_be_accepted(check: Check) -> None:
    await check(
        "POST /v1/friends/requests/{id}/accept",
        "AcceptFriendRequest",
        friend.AcceptFriendRequestRequest(request_id=7),
        friend.AcceptFriendRequestResponse(),
        204,
        path="/v1/friends/requests/7/accept",
    )


async def test_a_friend_request_can_be_rejected(check: Check) -> None:
    await check(
        "POST /v1/friends/requests/{id}/reject",
        "RejectFriendRequest",
        friend.RejectFriendRequestRequest(request_id=7),
        friend.RejectFriendRequestResponse(),
        204,
        path="/v1/friends/requests/7/reject",
    )


async def test_friends_are_listed_in_pages(check: Check) -> None:
    await check(
        "GET /v1/friends",
        "ListFriends",
        friend.ListFriendsRequest(limit=50),
        friend.ListFriendsResponse(friends=[friend.Friend(**_FRIEND)], next_cursor="n"),
        body={"items": [_FRIEND], "next_cursor": "n"},
    )


async def test_a_friendship_can_be_ended(check: Check) -> None:
    await check(
        "DELETE /v1/friends/{user_id}",
        "DeleteFriend",
        friend.DeleteFriendRequest(user_id=1002),
        friend.DeleteFriendResponse(),
        204,
        path="/v1/friends/1002",
    )


async def test_a_friend_can_be_given_a_name(check: Check) -> None:
    await check(
        "PATCH /v1/friends/{user_id}",
        "SetRemark",
        friend.SetRemarkRequest(user_id=1002, remark="Bobby"),
        friend.SetRemarkResponse(),
        204,
        sent={"remark": "Bobby"},
        path="/v1/friends/1002",
    )


async def test_blocked_users_are_listed(check: Check) -> None:
    await check(
        "GET /v1/blocks",
        "ListBlockedUsers",
        friend.ListBlockedUsersRequest(limit=2),
        friend.ListBlockedUsersResponse(users=[friend.BlockedUser(**_BLOCKED)]),
        body={"items": [_BLOCKED], "next_cursor": None},
        path="/v1/blocks?limit=2",
    )


async def test_a_user_can_be_blocked(check: Check) -> None:
    await check(
        "PUT /v1/blocks/{user_id}",
        "BlockUser",
        friend.BlockUserRequest(user_id=1003),
        friend.BlockUserResponse(),
        204,
        path="/v1/blocks/1003",
    )


async def test_a_block_can_be_taken_back(check: Check) -> None:
    await check(
        "DELETE /v1/blocks/{user_id}",
        "UnblockUser",
        friend.UnblockUserRequest(user_id=1003),
        friend.UnblockUserResponse(),
        204,
        path="/v1/blocks/1003",
    )
