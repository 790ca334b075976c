"""What the routes need: the services behind the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api_gateway.config import Settings
from api_gateway.files.pictures import Pictures
from api_gateway.files.store import FileStore
from api_gateway.files.sweep import keep_removing
from api_gateway.kept_answers import KeptAnswers
from api_gateway.rates import RateLimiter
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.chat.v1.chat_pb2_grpc import ChatServiceStub
from im.chat.v1.file_pb2_grpc import FileServiceStub
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im.user.v1.user_pb2_grpc import PresenceServiceStub, UserServiceStub
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.runtime.resources import Resources
from im_common.runtime.shared_rate import SharedBuckets

if TYPE_CHECKING:
    from im.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from im.chat.v1.file_pb2_grpc import FileServiceAsyncStub
    from im.friend.v1.friend_pb2_grpc import FriendServiceAsyncStub
    from im.group.v1.group_pb2_grpc import GroupServiceAsyncStub
    from im.user.v1.user_pb2_grpc import PresenceServiceAsyncStub, UserServiceAsyncStub

# A request that has run out of time still leaves its answer.
LOCK_SLACK_MS = 2_000


@dataclass(frozen=True, slots=True)
class ServiceContext:
    settings: Settings
    auth: AuthServiceAsyncStub
    users: UserServiceAsyncStub
    presence: PresenceServiceAsyncStub
    friends: FriendServiceAsyncStub
    groups: GroupServiceAsyncStub
    chat: ChatServiceAsyncStub
    # What is known of files, and their bytes.
    files: FileServiceAsyncStub
    store: FileStore
    pictures: Pictures
    # Who calls, where the gateway itself must know; the services verify it themselves.
    tokens: AccessTokens
    kept: KeptAnswers
    # None with `rate_limits: off`.
    limiter: RateLimiter | None


async def build(settings: Settings, resources: Resources) -> ServiceContext:
    user_service = await resources.channel(settings.user_rpc)
    auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
    chat_service = await resources.channel(settings.chat_rpc)
    files, store = FileServiceStub(chat_service), FileStore(settings.files)
    every_s = settings.files.remove_unused_every / 1000
    resources.keep(keep_removing(files, store, every_s), "unused files")
    # Each use says what happens without it; most of what comes needs none.
    redis = resources.redis(is_vital=False)
    tokens = AccessTokens(RemoteKeys(auth), redis)
    is_limited = settings.rate_limits == "on"
    return ServiceContext(
        settings=settings,
        auth=auth,
        users=UserServiceStub(user_service),
        presence=PresenceServiceStub(user_service),
        friends=FriendServiceStub(await resources.channel(settings.friend_rpc)),
        groups=GroupServiceStub(await resources.channel(settings.group_rpc)),
        tokens=tokens,
        limiter=RateLimiter(settings.rates, SharedBuckets(redis), tokens) if is_limited else None,
        chat=ChatServiceStub(chat_service),
        files=files,
        store=store,
        pictures=Pictures(settings.pictures),
        kept=KeptAnswers(
            redis,
            secret=settings.internal_secret.get_secret_value(),
            answered_within_ms=settings.http.timeout + LOCK_SLACK_MS,
        ),
    )
