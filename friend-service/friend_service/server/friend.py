"""FriendService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from friend_service.logic import blocks
from friend_service.svc import ServiceContext
from im.friend.v1 import friend_pb2 as pb
from im.friend.v1.friend_pb2_grpc import FriendServiceServicer
from im_common.runtime.context import identity


class FriendServicer(FriendServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def BlockUser(self, request: pb.BlockUserRequest, _: Any) -> pb.BlockUserResponse:
        await blocks.block_user(self._svc, identity().user_id, request.user_id)
        return pb.BlockUserResponse()

    async def UnblockUser(self, request: pb.UnblockUserRequest, _: Any) -> pb.UnblockUserResponse:
        await blocks.unblock_user(self._svc, identity().user_id, request.user_id)
        return pb.UnblockUserResponse()

    async def ListBlockedUsers(
        self, request: pb.ListBlockedUsersRequest, _: Any
    ) -> pb.ListBlockedUsersResponse:
        users, next_cursor = await blocks.list_blocked_users(
            self._svc, identity().user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListBlockedUsersResponse(
            users=[pb.BlockedUser(user_id=u.user_id, created_at=u.created_at) for u in users],
            next_cursor=next_cursor,
        )

    async def IsBlocked(self, request: pb.IsBlockedRequest, _: Any) -> pb.IsBlockedResponse:
        answers = await blocks.batch_is_blocked(self._svc, [(request.user_id, request.target_id)])
        return pb.IsBlockedResponse(blocked=answers[0])

    async def BatchIsBlocked(
        self, request: pb.BatchIsBlockedRequest, _: Any
    ) -> pb.BatchIsBlockedResponse:
        pairs = [(pair.user_id, pair.target_id) for pair in request.pairs]
        blocked = await blocks.batch_is_blocked(self._svc, pairs)
        return pb.BatchIsBlockedResponse(blocked=blocked, lease_ms=blocks.LEASE_MS)
