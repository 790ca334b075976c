"""What the logic knows, as messages of the proto."""

from __future__ import annotations

from friend_service.logic.friends import Friend
from friend_service.logic.people import Person
from friend_service.model.blocks import BlockedUser
from friend_service.model.requests import FriendRequest
from im.friend.v1 import friend_pb2 as pb


def request(found: FriendRequest, other: Person) -> pb.FriendRequest:
    return pb.FriendRequest(
        request_id=found.request_id,
        from_user_id=found.from_user_id,
        to_user_id=found.to_user_id,
        message=found.message,
        status=found.status.name.lower(),
        created_at=found.created_at,
        username=other.username,
        nickname=other.nickname,
        avatar=other.avatar,
    )


def friend(found: Friend) -> pb.Friend:
    return pb.Friend(
        user_id=found.friendship.friend_id,
        username=found.person.username,
        nickname=found.person.nickname,
        avatar=found.person.avatar,
        remark=found.friendship.remark,
        online=found.presence.online,
        last_seen=found.presence.last_seen,
        created_at=found.friendship.created_at,
    )


def blocked(found: BlockedUser, person: Person) -> pb.BlockedUser:
    return pb.BlockedUser(
        user_id=found.user_id,
        created_at=found.created_at,
        username=person.username,
        nickname=person.nickname,
        avatar=person.avatar,
    )
