"""What the logic of user-service needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.domain.comings import Comings
from im_common.runtime.gathering import Gathered
from im_common.runtime.resources import Resources
from im_common.sql.db import Database
from im_common.sql.outbox import Outbox
from user_service.config import Settings
from user_service.model import users
from user_service.model.presence import PresenceTable
from user_service.model.users import Profile

if TYPE_CHECKING:
    from im.friend.v1.friend_pb2_grpc import FriendServiceAsyncStub


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    # Of what friends are told of a profile.
    outbox: Outbox
    # A profile by its user, from the database: those that are asked for at once by one query.
    profiles: Gathered[int, Profile | None]
    presence: PresenceTable
    friends: FriendServiceAsyncStub
    comings: Comings
    tokens: AccessTokens


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    redis = resources.redis()
    db = resources.database(settings.db)
    return ServiceContext(
        settings=settings,
        db=db,
        outbox=await resources.outbox(settings.bus, Outbox(db, users.outbox)),
        profiles=Gathered(lambda user_ids: db.read(users.profiles, user_ids)),
        presence=PresenceTable(redis),
        friends=FriendServiceStub(await resources.channel(settings.friend_rpc)),
        comings=Comings(redis),
        tokens=AccessTokens(RemoteKeys(auth), redis),
    )
