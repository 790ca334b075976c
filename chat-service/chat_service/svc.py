"""What the logic of chat-service needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from chat_service.config import Settings
from chat_service.gateways import Gateways
from chat_service.logic.audience import Audiences
from chat_service.logic.notify import Notifier
from chat_service.logic.presence import PresenceTeller
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im.user.v1.user_pb2_grpc import PresenceServiceStub
from im_common.bus import Producer
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.domain.comings import Comings
from im_common.domain.in_flight import InFlight
from im_common.domain.routes import RouteTable
from im_common.runtime.resources import Resources
from im_common.sql.db import Database

if TYPE_CHECKING:
    from im.friend.v1.friend_pb2_grpc import FriendServiceAsyncStub
    from im.group.v1.group_pb2_grpc import GroupServiceAsyncStub


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    redis: Redis
    producer: Producer
    groups: GroupServiceAsyncStub
    friends: FriendServiceAsyncStub
    tokens: AccessTokens
    # Calls that wait for what the consumer makes of their message.
    in_flight: InFlight
    # Receipts and typing on their way, and whom receipts go to.
    notifier: Notifier
    audiences: Audiences


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    redis, db = resources.redis(), resources.database(settings.db)
    routes = RouteTable(redis)
    notifier = Notifier(routes, Gateways(resources.address_channels()))
    resources.keep(notifier.run(), "notifier")
    friends = FriendServiceStub(await resources.channel(settings.friend_rpc))
    teller = PresenceTeller(
        Comings(redis),
        routes,
        PresenceServiceStub(await resources.channel(settings.user_rpc)),
        friends,
        notifier,
    )
    resources.keep(teller.run(), "presence")
    in_flight = InFlight()
    resources.keep(in_flight.run(), "in-flight")
    return ServiceContext(
        settings=settings,
        db=db,
        redis=redis,
        producer=await resources.producer(settings.bus),
        friends=friends,
        groups=GroupServiceStub(await resources.channel(settings.group_rpc)),
        tokens=AccessTokens(RemoteKeys(auth), redis),
        in_flight=in_flight,
        notifier=notifier,
        audiences=Audiences(db),
    )
