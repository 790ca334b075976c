"""What the logic of group-service needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from group_service.config import Settings
from group_service.model import tables
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.chat.v1.chat_pb2_grpc import ChatServiceStub
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im.user.v1.user_pb2_grpc import UserServiceStub
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.runtime.resources import Resources
from im_common.sql.db import Database
from im_common.sql.outbox import Outbox

if TYPE_CHECKING:
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from im.friend.v1.friend_pb2_grpc import FriendServiceAsyncStub
    from im.user.v1.user_pb2_grpc import UserServiceAsyncStub


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    outbox: Outbox
    users: UserServiceAsyncStub
    friends: FriendServiceAsyncStub
    chat: ChatServiceAsyncStub
    tokens: AccessTokens


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    redis, db = resources.redis(), resources.database(settings.db)
    return ServiceContext(
        settings=settings,
        db=db,
        outbox=await resources.outbox(settings.bus, Outbox(db, tables.outbox)),
        users=UserServiceStub(await resources.channel(settings.user_rpc)),
        friends=FriendServiceStub(await resources.channel(settings.friend_rpc)),
        chat=ChatServiceStub(await resources.channel(settings.chat_rpc)),
        tokens=AccessTokens(RemoteKeys(auth), redis),
    )
