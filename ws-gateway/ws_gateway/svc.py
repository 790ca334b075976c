"""What the gateway needs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.chat.v1.chat_pb2_grpc import ChatServiceStub
from im.user.v1.user_pb2_grpc import PresenceServiceStub
from im_common.bus import Producer
from im_common.domain.access_tokens import AccessTokens, LiveSessions, RemoteKeys
from im_common.domain.comings import Comings
from im_common.domain.ended_sessions import EndedSessions
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.in_flight import InFlight
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import RouteTable
from im_common.runtime.resources import Resources
from ws_gateway.config import Settings
from ws_gateway.logic.connection import Connections, Stores
from ws_gateway.logic.missing import Missing
from ws_gateway.logic.presence import PresenceReporter
from ws_gateway.logic.receipts import Receipts
from ws_gateway.logic.relay import Relay
from ws_gateway.logic.replacing import Replacing
from ws_gateway.logic.rosters import Rosters
from ws_gateway.logic.sessions import Sessions
from ws_gateway.logic.turns import Turns

if TYPE_CHECKING:
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub


@dataclass(slots=True)
class ServiceContext:
    settings: Settings
    redis: Redis
    producer: Producer
    chat: ChatServiceAsyncStub
    relay: Relay
    presence: PresenceReporter
    tokens: AccessTokens
    routes: RouteTable
    offline: OfflineList
    recalls: RecallLog
    # Whose connections are to end, as something is missing on them.
    missing: Missing
    # Where connections find what they were not sent live.
    stores: Stores
    # Who of the connected is in which group.
    rosters: Rosters
    receipts: Receipts
    sessions: Sessions
    replacing: Replacing
    connections: Connections = field(default_factory=Connections)
    in_flight: InFlight = field(default_factory=InFlight)
    turns: Turns = field(default_factory=Turns)
    # Whether everybody is being sent elsewhere.
    is_leaving: bool = False
    # time.monotonic() seconds: when routes were written, and Redis was seen; and which run of Redis it
    # was.
    routes_put_at: float = field(default_factory=time.monotonic)
    redis_seen_at: float = 0.0
    redis_run_id: str = ""


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    chat = ChatServiceStub(await resources.channel(settings.chat_rpc))
    redis = resources.redis()
    offline, recalls = OfflineList(redis), RecallLog(redis)
    connections = Connections()
    rosters = Rosters(connections, chat, GroupGateways(redis))
    missing = Missing(MissedLog(redis), connections, rosters)
    return ServiceContext(
        settings=settings,
        redis=redis,
        producer=await resources.producer(settings.bus),
        chat=chat,
        relay=Relay(chat),
        presence=PresenceReporter(
            PresenceServiceStub(await resources.channel(settings.user_rpc)), Comings(redis)
        ),
        # Each handshake asks whether the session is there: one that ends is told of only once.
        tokens=AccessTokens(RemoteKeys(auth), redis, session_cache_s=0.0),
        routes=RouteTable(redis),
        offline=offline,
        recalls=recalls,
        missing=missing,
        stores=Stores(offline, recalls, chat, missing.look),
        rosters=rosters,
        receipts=Receipts(connections),
        sessions=Sessions(EndedSessions(redis), LiveSessions(redis), connections, auth),
        replacing=Replacing(connections, resources.address_channels()),
        connections=connections,
    )
