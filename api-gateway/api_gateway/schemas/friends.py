"""Friends, friend requests and block lists."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api_gateway.schemas.base import Absent, Body, Id, Millis, Text, View
from im.friend.v1 import friend_pb2 as pb

Direction = Literal["in", "out"]
Status = Literal["pending", "accepted", "rejected", "cancelled", "expired", "all"]
DIRECTIONS: dict[Direction, pb.Direction.ValueType] = {
    "in": pb.DIRECTION_IN,
    "out": pb.DIRECTION_OUT,
}


class FriendRequestBody(Body):
    user_id: Id
    message: Text | None = Field(None, description="At most 256 characters.")


class RemarkBody(Body):
    remark: Text = Field(
        description="The caller's own name for the friend, at most 64 characters; empty for none."
    )


class FriendRequestMade(View):
    request_id: int
    accepted: Absent[bool] = Field(
        default=None, description="True when the other one had asked: the request is theirs."
    )


class FriendRequest(View):
    request_id: int
    from_user_id: int
    to_user_id: int
    username: str = Field(description="The other one's, as nickname and avatar are.")
    nickname: str
    avatar: str
    message: str
    status: str = Field(description="pending, accepted, rejected, cancelled or expired.")
    created_at: Millis

    @classmethod
    def of(cls, request: pb.FriendRequest) -> FriendRequest:
        return cls(
            request_id=request.request_id,
            from_user_id=request.from_user_id,
            to_user_id=request.to_user_id,
            username=request.username,
            nickname=request.nickname,
            avatar=request.avatar,
            message=request.message,
            status=request.status,
            created_at=request.created_at,
        )


class Friend(View):
    user_id: int
    username: str
    nickname: str
    avatar: str
    remark: str = Field(description="The caller's own name for the friend.")
    online: bool
    last_seen: int = Field(description="Unix milliseconds; 0 when never seen or hidden.")
    created_at: Millis = Field(description="Friends since, in Unix milliseconds.")

    @classmethod
    def of(cls, friend: pb.Friend) -> Friend:
        return cls(
            user_id=friend.user_id,
            username=friend.username,
            nickname=friend.nickname,
            avatar=friend.avatar,
            remark=friend.remark,
            online=friend.online,
            last_seen=friend.last_seen,
            created_at=friend.created_at,
        )


class BlockedUser(View):
    user_id: int
    username: str
    nickname: str
    avatar: str
    created_at: Millis

    @classmethod
    def of(cls, user: pb.BlockedUser) -> BlockedUser:
        return cls(
            user_id=user.user_id,
            username=user.username,
            nickname=user.nickname,
            avatar=user.avatar,
            created_at=user.created_at,
        )
