"""user-service, started as its process starts it, on real servers, with users of any id."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

import user_service
import user_service.server
from im.user.v1 import user_pb2 as pb
from im.user.v1.user_pb2_grpc import PresenceServiceStub, UserServiceStub
from im_common.runtime.sections import DbConf
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.fixtures import people, redis, valkey
from im_common.testing.people import People
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, call, running
from im_common.testing.told import BUS, told
from im_common.testing.valkey import ValkeyServer
from user_service.config import Settings

__all__ = ["people", "redis", "valkey"]


@dataclass
class Person:
    user_id: int
    username: str
    token: str


@dataclass
class UserService:
    """The service, and the calls that most tests make."""

    users: Any
    presence: Any
    people: People
    redis: Redis
    settings: Settings
    # Whoever asks when it does not matter.
    caller: Person = field(init=False)

    async def person(self, username: str = "", *, nickname: str = "", email: str = "") -> Person:
        """A new user with a profile."""
        person = await self.people.new()
        username = username or new_name()
        request = pb.CreateProfileRequest(
            user_id=person.user_id, username=username, nickname=nickname, email=email
        )
        await call(self.users.CreateProfile, request, service="auth-service")
        return Person(person.user_id, username, person.token)

    async def profile(self, person: Person) -> pb.Profile:
        request = pb.GetProfileRequest()
        return (await call(self.users.GetProfile, request, token=person.token)).profile

    async def update(
        self, person: Person, *fields: str, profile: pb.Profile | None = None, **values: Any
    ) -> pb.Profile:
        """Changes the named fields; those of the public part may be given as ``user``."""
        request = pb.UpdateProfileRequest(profile=profile or pb.Profile(**values))
        request.update_mask.paths.extend(fields)
        return (await call(self.users.UpdateProfile, request, token=person.token)).profile

    async def search(
        self, query: str, *, limit: int = 0, cursor: str = ""
    ) -> tuple[list[int], str]:
        """Ids of a page, and the next cursor."""
        request = pb.SearchUsersRequest(query=query, limit=limit, cursor=cursor)
        answer = await call(self.users.SearchUsers, request, token=self.caller.token)
        return [user.user_id for user in answer.users], answer.next_cursor

    async def online(self, *user_ids: int, caller: Person | None = None) -> list[pb.Presence]:
        request = pb.GetOnlineUsersRequest(user_ids=user_ids)
        token = (caller or self.caller).token
        return list((await call(self.presence.GetOnlineUsers, request, token=token)).presences)

    async def told(self, user_id: int, count: int) -> list[tuple[str, Any]]:
        """The events for a user's devices, when there are so many: name and data, oldest first."""
        return await told(self.redis, user_id, count)


def new_name() -> str:
    return f"user-{secrets.token_hex(6)}"


@pytest.fixture(name="new_name")
def _new_name() -> Callable[[], str]:
    return new_name


@pytest.fixture(scope="session", params=KINDS)
def db(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DbConf]:
    """Of each kind once for all tests: each makes users of its own."""
    migrations = Path(user_service.__file__).parent / "migrations"
    folder = tmp_path_factory.mktemp("databases")
    with migrated_database(request.param, folder, migrations) as conf:
        yield conf


@pytest.fixture
async def service(
    db: DbConf, valkey: ValkeyServer, redis: Redis, people: People
) -> AsyncIterator[UserService]:
    settings = Settings(
        name="user-service",
        listen_on=f"127.0.0.1:{free_port()}",
        db=db,
        bus=BUS,
        redis=valkey.conf,
        internal_secret=SecretStr(SECRET),
        auth_rpc=people.conf,
        friend_rpc=people.conf,
    )
    async with running(user_service.server.serve, settings) as started:
        service = UserService(
            users=UserServiceStub(started.channel),
            presence=PresenceServiceStub(started.channel),
            people=people,
            redis=redis,
            settings=settings,
        )
        service.caller = await service.person()
        yield service
