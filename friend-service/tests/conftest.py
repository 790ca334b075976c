"""friend-service, started as its process starts it, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import friend_service
import friend_service.server
from friend_service.config import Settings
from im.friend.v1 import friend_pb2 as pb
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im_common.runtime.config import BusConf, DbConf
from im_common.testing import databases
from im_common.testing.databases import migrated_database
from im_common.testing.fixtures import people, redis, valkey
from im_common.testing.people import People, Person
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, call, running
from im_common.testing.valkey import ValkeyServer

__all__ = ["people", "redis", "valkey"]


@dataclass
class Friends:
    """The service, and the calls that most tests make."""

    stub: Any
    settings: Settings

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

    async def is_blocked(self, user_id: int, target_id: int) -> bool:
        request = pb.IsBlockedRequest(user_id=user_id, target_id=target_id)
        answer = await call(self.stub.IsBlocked, request, service="chat-service")
        return bool(answer.blocked)

    async def are_blocked(self, *pairs: tuple[int, int]) -> list[bool]:
        asked = [pb.IsBlockedRequest(user_id=user, target_id=target) for user, target in pairs]
        request = pb.BatchIsBlockedRequest(pairs=asked)
        answer = await call(self.stub.BatchIsBlocked, request, service="chat-service")
        return list(answer.blocked)


@pytest.fixture(scope="session", params=databases.KINDS)
def db(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DbConf]:
    """Of each kind once for all tests: each has users of its own."""
    if reason := databases.missing(request.param):
        pytest.skip(reason)
    migrations = Path(friend_service.__file__).parent / "migrations"
    with migrated_database(request.param, tmp_path_factory.mktemp("db"), migrations) as conf:
        yield conf


@pytest.fixture
async def friends(db: DbConf, valkey: ValkeyServer, people: People) -> AsyncIterator[Friends]:
    settings = Settings(
        name="friend-service",
        listen_on=f"127.0.0.1:{free_port()}",
        db=db,
        redis=valkey.conf,
        internal_secret=SecretStr(SECRET),
        bus=BusConf(kind="redis"),
        auth_rpc=people.conf,
        user_rpc=people.conf,
    )
    async with running(friend_service.server.serve, settings) as service:
        yield Friends(FriendServiceStub(service.channel), settings)
