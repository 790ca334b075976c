"""What the logic of friend-service needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from friend_service.config import Settings
from friend_service.model import tables
from friend_service.model.cache import Lists
from friend_service.model.loader import Loader
from friend_service.model.orders import Orders
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.user.v1.user_pb2_grpc import PresenceServiceStub, UserServiceStub
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.runtime.redis_client import open_redis
from im_common.runtime.resources import Resources
from im_common.sql.db import Database
from im_common.sql.outbox import Outbox

if TYPE_CHECKING:
    from im.user.v1.user_pb2_grpc import PresenceServiceAsyncStub, UserServiceAsyncStub


CACHE_TIMEOUT_S = 0.4


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    outbox: Outbox
    users: UserServiceAsyncStub
    presence: PresenceServiceAsyncStub
    # In Redis: who is in whose list, what loads that, and the orders of lists that are shown.
    lists: Lists
    loader: Loader
    orders: Orders
    tokens: AccessTokens


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    redis, db = resources.redis(), resources.database(settings.db)
    user_service = await resources.channel(settings.user_rpc)
    # Who asks has 2 s: there must be time for the database when Redis is silent.
    cache = open_redis(settings.redis, timeout_s=CACHE_TIMEOUT_S)
    resources.on_close(cache.aclose)
    lists = Lists(cache)
    loader = Loader(db, lists)
    resources.keep(loader.run(), "list-loader")
    return ServiceContext(
        settings=settings,
        db=db,
        outbox=await resources.outbox(settings.bus, Outbox(db, tables.outbox)),
        users=UserServiceStub(user_service),
        presence=PresenceServiceStub(user_service),
        lists=lists,
        loader=loader,
        orders=Orders(cache),
        tokens=AccessTokens(RemoteKeys(auth), redis),
    )
