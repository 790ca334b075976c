"""friend-service, started as its process starts it, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

import friend_service
import friend_service.server
from friend_service.config import Settings
from im.friend.v1 import friend_pb2 as pb
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im_common.runtime.sections import DbConf
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.fixtures import people, redis, valkey
from im_common.testing.people import People, Person
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, call, running
from im_common.testing.told import BUS, told
from im_common.testing.valkey import ValkeyServer

__all__ = ["people", "redis", "valkey"]


@dataclass
class Friends:
    """The service, and the calls that most tests make."""

    stub: Any
    settings: Settings
    redis: Redis

    async def block(self, person: Person, user_id: int) -> None:
        await call(self.stub.BlockUser, pb.BlockUserRequest(user_id=user_id), token=person.token)

    async def unblock(self, person: Person, user_id: int) -> None:
        request = pb.UnblockUserRequest(user_id=user_id)
        await call(self.stub.UnblockUser, request, token=person.token)

    async def page(
        self, person: Person, *, limit: int = 0, cursor: str = ""
    ) -> pb.ListBlockedUsersResponse:
        request = pb.ListBlockedUsersRequest(limit=limit, cursor=cursor)
        answer: pb.ListBlockedUsersResponse = await call(
            self.stub.ListBlockedUsers, request, token=person.token
        )
        return answer

    async def blocked_by(self, person: Person) -> list[int]:
        return [user.user_id for user in (await self.page(person)).users]

    async def ask(
        self, person: Person, other: int, message: str = "", *, is_repeat: bool = False
    ) -> Any:
        request = pb.SendFriendRequestRequest(user_id=other, message=message, is_repeat=is_repeat)
        return await call(self.stub.SendFriendRequest, request, token=person.token)

    async def accept(self, person: Person, request_id: int) -> None:
        request = pb.AcceptFriendRequestRequest(request_id=request_id)
        await call(self.stub.AcceptFriendRequest, request, token=person.token)

    async def reject(self, person: Person, request_id: int) -> None:
        request = pb.RejectFriendRequestRequest(request_id=request_id)
        await call(self.stub.RejectFriendRequest, request, token=person.token)

    async def cancel(self, person: Person, request_id: int) -> None:
        request = pb.CancelFriendRequestRequest(request_id=request_id)
        await call(self.stub.CancelFriendRequest, request, token=person.token)

    async def requests(self, person: Person, *, out: bool = False, **more: Any) -> Any:
        direction = pb.DIRECTION_OUT if out else pb.DIRECTION_IN
        request = pb.ListFriendRequestsRequest(direction=direction, **more)
        return await call(self.stub.ListFriendRequests, request, token=person.token)

    async def pending(self, person: Person, *, out: bool = False) -> list[int]:
        return [one.request_id for one in (await self.requests(person, out=out)).requests]

    async def befriend(self, person: Person, other: Person) -> None:
        """The two are no friends before."""
        request_id = (await self.ask(person, other.user_id)).request_id
        await self.accept(other, request_id)

    async def friend_page(self, person: Person, *, limit: int = 0, cursor: str = "") -> Any:
        request = pb.ListFriendsRequest(limit=limit, cursor=cursor)
        return await call(self.stub.ListFriends, request, token=person.token)

    async def friends_of(self, person: Person) -> list[int]:
        return [one.user_id for one in (await self.friend_page(person, limit=100)).friends]

    async def unfriend(self, person: Person, other: int) -> None:
        request = pb.DeleteFriendRequest(user_id=other)
        await call(self.stub.DeleteFriend, request, token=person.token)

    async def remark(self, person: Person, other: int, remark: str) -> None:
        request = pb.SetRemarkRequest(user_id=other, remark=remark)
        await call(self.stub.SetRemark, request, token=person.token)

    async def standing(
        self, user_id: int, target_id: int, *, timeout_s: float = 20
    ) -> tuple[bool, bool]:
        """Whether the target has blocked the user, and whether the two are friends."""
        pair = pb.IsBlockedRequest(user_id=user_id, target_id=target_id)
        request = pb.BatchIsBlockedRequest(pairs=[pair], with_friends=True)
        answer = await call(
            self.stub.BatchIsBlocked, request, service="chat-service", timeout_s=timeout_s
        )
        return answer.blocked[0], answer.friends[0]

    async def friend_ids(self, *user_ids: int) -> list[list[int]]:
        request = pb.BatchListFriendIdsRequest(user_ids=user_ids)
        answer = await call(self.stub.BatchListFriendIds, request, service="user-service")
        return [list(one.friend_ids) for one in answer.lists]

    async def told(self, user_id: int, count: int) -> list[tuple[str, Any]]:
        """The events for a user's devices, when there are so many: name and data, oldest first."""
        return await told(self.redis, user_id, count)

    async def is_blocked(self, user_id: int, target_id: int) -> bool:
        request = pb.IsBlockedRequest(user_id=user_id, target_id=target_id)
        answer = await call(self.stub.IsBlocked, request, service="chat-service")
        return bool(answer.blocked)

    async def are_blocked(self, *pairs: tuple[int, int]) -> list[bool]:
        asked = [pb.IsBlockedRequest(user_id=user, target_id=target) for user, target in pairs]
        request = pb.BatchIsBlockedRequest(pairs=asked)
        answer = await call(self.stub.BatchIsBlocked, request, service="chat-service")
        return list(answer.blocked)


@pytest.fixture(scope="session", params=KINDS)
def db(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DbConf]:
    """Of each kind once for all tests: each has users of its own."""
    migrations = Path(friend_service.__file__).parent / "migrations"
    with migrated_database(request.param, tmp_path_factory.mktemp("db"), migrations) as conf:
        yield conf


@pytest.fixture
async def start(
    db: DbConf, valkey: ValkeyServer, redis: Redis, people: People
) -> AsyncIterator[Callable[..., Awaitable[Friends]]]:
    """Starts an instance; arguments are settings."""
    async with AsyncExitStack() as stack:

        async def start(**more: Any) -> Friends:
            settings = Settings(
                name="friend-service",
                listen_on=f"127.0.0.1:{free_port()}",
                db=db,
                redis=valkey.conf,
                internal_secret=SecretStr(SECRET),
                bus=BUS,
                auth_rpc=people.conf,
                user_rpc=people.conf,
                **more,
            )
            service = running(friend_service.server.serve, settings)
            channel = (await stack.enter_async_context(service)).channel
            return Friends(FriendServiceStub(channel), settings, redis)

        yield start


@pytest.fixture
async def friends(start: Callable[..., Awaitable[Friends]]) -> Friends:
    return await start()
