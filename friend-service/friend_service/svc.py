"""What the logic of friend-service needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from friend_service.config import Settings
from friend_service.model import tables
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.user.v1.user_pb2_grpc import UserServiceStub
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.runtime.resources import Resources
from im_common.sql.db import Database
from im_common.sql.outbox import Outbox

if TYPE_CHECKING:
    from im.user.v1.user_pb2_grpc import UserServiceAsyncStub


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    outbox: Outbox
    users: UserServiceAsyncStub
    tokens: AccessTokens


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    db = resources.database(settings.db)
    return ServiceContext(
        settings=settings,
        db=db,
        outbox=await resources.outbox(settings.bus, Outbox(db, tables.outbox)),
        users=UserServiceStub(await resources.channel(settings.user_rpc)),
        tokens=AccessTokens(RemoteKeys(auth), resources.redis()),
    )
