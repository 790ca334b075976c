"""What the logic of auth-service needs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from auth_service.config import Settings
from auth_service.keys import KeyRing
from auth_service.model import credentials
from auth_service.model.guesses import CountedGuesses, Guesses, UncountedGuesses
from auth_service.model.sessions import Sessions
from auth_service.passwords import PasswordHasher
from auth_service.tokens import RefreshTokens
from im.friend.v1 import friend_pb2_grpc
from im.group.v1 import group_pb2_grpc
from im.user.v1 import user_pb2_grpc
from im_common.domain.access_tokens import AccessTokens
from im_common.runtime.resources import Resources
from im_common.sql.db import Database
from im_common.sql.outbox import Outbox


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    db: Database
    keys: KeyRing
    passwords: PasswordHasher
    # Of what is told when a session ends.
    outbox: Outbox
    sessions: Sessions
    guesses: Guesses
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    users: user_pb2_grpc.UserServiceAsyncStub
    friends: friend_pb2_grpc.FriendServiceAsyncStub
    groups: group_pb2_grpc.GroupServiceAsyncStub
    # Set when an account was deleted, and there is something to finish.
    has_deletions: asyncio.Event


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    keys = KeyRing(Path(settings.keys.file))
    redis = resources.redis()
    passwords = PasswordHasher(cost=settings.bcrypt_cost, most_waiting=settings.max_waiting_logins)
    resources.on_close(passwords.close)
    counted = settings.rate_limits == "on"
    db = resources.database(settings.db)
    return ServiceContext(
        settings=settings,
        db=db,
        outbox=await resources.outbox(settings.bus, Outbox(db, credentials.outbox)),
        keys=keys,
        passwords=passwords,
        sessions=Sessions(redis, life_ms=settings.refresh_token_life * 1000),
        guesses=CountedGuesses(redis, settings.guessing) if counted else UncountedGuesses(),
        # Who makes the sessions knows at once that one is over.
        access_tokens=AccessTokens(keys, redis, session_cache_s=0.0),
        refresh_tokens=RefreshTokens(settings.internal_secret.get_secret_value()),
        users=user_pb2_grpc.UserServiceStub(await resources.channel(settings.user_rpc)),
        friends=friend_pb2_grpc.FriendServiceStub(await resources.channel(settings.friend_rpc)),
        groups=group_pb2_grpc.GroupServiceStub(await resources.channel(settings.group_rpc)),
        has_deletions=asyncio.Event(),
    )
