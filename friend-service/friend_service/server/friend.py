"""FriendService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from friend_service.logic import blocks, forgetting, friends, membership, requests
from friend_service.logic.changes import LEASE_MS
from friend_service.server import views
from friend_service.svc import ServiceContext
from im.friend.v1 import friend_pb2 as pb
from im.friend.v1.friend_pb2_grpc import FriendServiceServicer
from im_common.runtime.context import identity


class FriendServicer(FriendServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def SendFriendRequest(
        self, request: pb.SendFriendRequestRequest, _: Any
    ) -> pb.SendFriendRequestResponse:
        request_id, accepted = await requests.send_friend_request(
            self._svc,
            identity().user_id,
            request.user_id,
            request.message,
            is_repeat=request.is_repeat,
        )
        return pb.SendFriendRequestResponse(request_id=request_id, accepted=accepted)

    async def CancelFriendRequest(
        self, request: pb.CancelFriendRequestRequest, _: Any
    ) -> pb.CancelFriendRequestResponse:
        await requests.cancel_friend_request(self._svc, identity().user_id, request.request_id)
        return pb.CancelFriendRequestResponse()

    async def ListFriendRequests(
        self, request: pb.ListFriendRequestsRequest, _: Any
    ) -> pb.ListFriendRequestsResponse:
        found, next_cursor = await requests.list_friend_requests(
            self._svc,
            identity().user_id,
            incoming=request.direction != pb.DIRECTION_OUT,
            status=request.status,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.ListFriendRequestsResponse(
            requests=[views.request(*one) for one in found], next_cursor=next_cursor
        )

    async def AcceptFriendRequest(
        self, request: pb.AcceptFriendRequestRequest, _: Any
    ) -> pb.AcceptFriendRequestResponse:
        await requests.accept_friend_request(self._svc, identity().user_id, request.request_id)
        return pb.AcceptFriendRequestResponse()

    async def RejectFriendRequest(
        self, request: pb.RejectFriendRequestRequest, _: Any
    ) -> pb.RejectFriendRequestResponse:
        await requests.reject_friend_request(self._svc, identity().user_id, request.request_id)
        return pb.RejectFriendRequestResponse()

    async def ListFriends(self, request: pb.ListFriendsRequest, _: Any) -> pb.ListFriendsResponse:
        found, next_cursor = await friends.list_friends(
            self._svc, identity().user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListFriendsResponse(friends=map(views.friend, found), next_cursor=next_cursor)

    async def SetRemark(self, request: pb.SetRemarkRequest, _: Any) -> pb.SetRemarkResponse:
        await friends.set_remark(self._svc, identity().user_id, request.user_id, request.remark)
        return pb.SetRemarkResponse()

    async def DeleteFriend(
        self, request: pb.DeleteFriendRequest, _: Any
    ) -> pb.DeleteFriendResponse:
        await friends.delete_friend(self._svc, identity().user_id, request.user_id)
        return pb.DeleteFriendResponse()

    async def BlockUser(self, request: pb.BlockUserRequest, _: Any) -> pb.BlockUserResponse:
        await blocks.block_user(self._svc, identity().user_id, request.user_id)
        return pb.BlockUserResponse()

    async def UnblockUser(self, request: pb.UnblockUserRequest, _: Any) -> pb.UnblockUserResponse:
        await blocks.unblock_user(self._svc, identity().user_id, request.user_id)
        return pb.UnblockUserResponse()

    async def ListBlockedUsers(
        self, request: pb.ListBlockedUsersRequest, _: Any
    ) -> pb.ListBlockedUsersResponse:
        found, next_cursor = await blocks.list_blocked_users(
            self._svc, identity().user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListBlockedUsersResponse(
            users=[views.blocked(*one) for one in found], next_cursor=next_cursor
        )

    async def IsBlocked(self, request: pb.IsBlockedRequest, _: Any) -> pb.IsBlockedResponse:
        pair = (request.user_id, request.target_id)
        [standing] = await blocks.batch_is_blocked(self._svc, [pair])
        return pb.IsBlockedResponse(blocked=standing.blocked)

    async def BatchIsBlocked(
        self, request: pb.BatchIsBlockedRequest, _: Any
    ) -> pb.BatchIsBlockedResponse:
        found = await blocks.batch_is_blocked(
            self._svc,
            [(pair.user_id, pair.target_id) for pair in request.pairs],
            both_ways=request.both_ways,
            with_friends=request.with_friends,
        )
        return pb.BatchIsBlockedResponse(
            blocked=[standing.blocked for standing in found],
            friends=[standing.friends for standing in found] if request.with_friends else (),
            lease_ms=LEASE_MS,
        )

    async def ForgetUser(self, request: pb.ForgetUserRequest, _: Any) -> pb.ForgetUserResponse:
        return pb.ForgetUserResponse(done=await forgetting.forget_user(self._svc, request.user_id))

    async def BatchListFriendIds(
        self, request: pb.BatchListFriendIdsRequest, _: Any
    ) -> pb.BatchListFriendIdsResponse:
        found = await membership.batch_list_friend_ids(self._svc, request.user_ids)
        lists = [pb.FriendIds(friend_ids=friend_ids) for friend_ids in found]
        return pb.BatchListFriendIdsResponse(lists=lists)
