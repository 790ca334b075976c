"""Friends, friend requests and block lists."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api_gateway.schemas.base import Body, Id, Millis, Text, View
from im.friend.v1 import friend_pb2 as pb

Direction = Literal["in", "out"]
DIRECTIONS: dict[Direction, pb.Direction.ValueType] = {
    "in": pb.DIRECTION_IN,
    "out": pb.DIRECTION_OUT,
}


class FriendRequestBody(Body):
    user_id: Id
    message: Text | None = None


class RemarkBody(Body):
    remark: Text = Field(description="The caller's own name for the friend; empty for none.")


class FriendRequestMade(View):
    request_id: int


class FriendRequest(View):
    request_id: int
    from_user_id: int
    to_user_id: int
    message: str
    status: str = Field(description="pending, accepted or rejected.")
    created_at: Millis

    @classmethod
    def of(cls, request: pb.FriendRequest) -> FriendRequest:
        return cls(
            request_id=request.request_id,
            from_user_id=request.from_user_id,
            to_user_id=request.to_user_id,
            message=request.message,
            status=request.status,
            created_at=request.created_at,
        )


class Friend(View):
    user_id: int
    remark: str
    created_at: Millis

    @classmethod
    def of(cls, friend: pb.Friend) -> Friend:
        return cls(user_id=friend.user_id, remark=friend.remark, created_at=friend.created_at)


class BlockedUser(View):
    user_id: int
    created_at: Millis

    @classmethod
    def of(cls, user: pb.BlockedUser) -> BlockedUser:
        return cls(user_id=user.user_id, created_at=user.created_at)
