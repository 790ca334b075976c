"""What the logic of chat-service needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chat_service.config import Settings
from chat_service.logic.waiting import Waiting
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im_common.access_tokens import AccessTokens, RemoteKeys
from im_common.bus import Producer
from im_common.db import Database
from im_common.resources import Resources

if TYPE_CHECKING:
    from im.group.v1.group_pb2_grpc import GroupServiceAsyncStub


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    producer: Producer
    groups: GroupServiceAsyncStub
    tokens: AccessTokens
    # Calls that wait for what the consumer makes of their message.
    waiting: Waiting


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    return ServiceContext(
        settings=settings,
        db=resources.database(settings.db),
        producer=await resources.producer(settings.bus),
        groups=GroupServiceStub(await resources.channel(settings.group_rpc)),
        tokens=AccessTokens(RemoteKeys(auth), resources.redis()),
        waiting=Waiting(),
    )
