"""auth-service and user-service, started as their processes start them, on real servers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

import auth_service
import auth_service.server
import user_service
import user_service.server
from auth_service.config import Settings as AuthSettings
from im.auth.v1 import auth_pb2 as pb
from im.auth.v1.admin_pb2_grpc import (
    AccountAdminServiceStub,
    AdminSessionServiceStub,
    AuditServiceStub,
    KeyAdminServiceStub,
)
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.user.v1 import user_pb2
from im.user.v1.user_pb2_grpc import UserServiceStub
from im_common.domain.key_file import ensure_key_file
from im_common.runtime.redis_client import open_redis
from im_common.runtime.sections import BusConf, ClientConf, DbConf
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, call, running
from im_common.testing.valkey import ValkeyServer
from user_service.config import Settings as UserSettings

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Databases:
    auth: DbConf
    user: DbConf


@dataclass
class Backend:
    """Both services, and the calls that most tests make."""

    auth: Any
    accounts: Any
    keys: Any
    audit: Any
    admin_sessions: Any
    users: Any
    redis: Redis
    auth_settings: AuthSettings
    user_settings: UserSettings

    @property
    def key_file(self) -> Path:
        return Path(self.auth_settings.keys.file)

    async def register(
        self,
        username: str = "",
        password: str = PASSWORD,
        *,
        address: str = "",
        timeout_s: float = 20.0,
        **fields: str,
    ) -> pb.TokenPair:
        request = pb.RegisterRequest(
            username=username or new_name(),
            password=password,
            **fields,  # type: ignore[arg-type]
        )
        answer = await call(self.auth.Register, request, address=address, timeout_s=timeout_s)
        return answer.tokens

    async def login(
        self,
        username: str,
        password: str = PASSWORD,
        *,
        address: str = "",
        timeout_s: float = 20.0,
        **device: str,
    ) -> pb.TokenPair:
        request = pb.LoginRequest(
            username=username,
            password=password,
            device=pb.Device(**device),  # type: ignore[arg-type]
        )
        answer = await call(self.auth.Login, request, address=address, timeout_s=timeout_s)
        return answer.tokens

    async def refresh(
        self, refresh_token: str, *, device_id: str = "", address: str = ""
    ) -> pb.TokenPair:
        request = pb.RefreshTokenRequest(refresh_token=refresh_token, device_id=device_id)
        return (await call(self.auth.RefreshToken, request, address=address)).tokens

    async def validate(self, access_token: str, *, address: str = "") -> pb.ValidateTokenResponse:
        request = pb.ValidateTokenRequest(access_token=access_token)
        return await call(self.auth.ValidateToken, request, address=address)

    async def sessions(self, access_token: str) -> list[pb.Session]:
        answer = await call(self.auth.ListSessions, pb.ListSessionsRequest(), token=access_token)
        return list(answer.sessions)

    async def revoke(self, access_token: str, session_id: str = "") -> int:
        """One session, or all others."""
        request = (
            pb.RevokeSessionRequest(session_id=session_id)
            if session_id
            else (pb.RevokeSessionRequest(all_others=True))
        )
        return (await call(self.auth.RevokeSession, request, token=access_token)).revoked

    async def logout(self, access_token: str) -> None:
        await call(self.auth.Logout, pb.LogoutRequest(), token=access_token)

    async def change_password(self, access_token: str, old: str, new: str) -> None:
        request = pb.ChangePasswordRequest(old_password=old, new_password=new)
        await call(self.auth.ChangePassword, request, token=access_token)

    async def disable(self, user_id: int, disabled: bool = True) -> None:
        request = pb.DisableAccountRequest(user_id=user_id, disabled=disabled)
        await call(self.auth.DisableAccount, request, service="user-service")

    async def profile(self, access_token: str) -> user_pb2.Profile:
        request = user_pb2.GetProfileRequest()
        return (await call(self.users.GetProfile, request, token=access_token)).profile

    @asynccontextmanager
    async def auth_running(self) -> AsyncIterator[None]:
        async with running(auth_service.server.serve, self.auth_settings) as auth:
            self.auth = AuthServiceStub(auth.channel)
            self.accounts = AccountAdminServiceStub(auth.channel)
            self.keys = KeyAdminServiceStub(auth.channel)
            self.audit = AuditServiceStub(auth.channel)
            self.admin_sessions = AdminSessionServiceStub(auth.channel)
            yield

    @asynccontextmanager
    async def users_running(self) -> AsyncIterator[None]:
        async with running(user_service.server.serve, self.user_settings) as users:
            self.users = UserServiceStub(users.channel)
            yield


Start = Callable[..., AbstractAsyncContextManager[Backend]]
Prepare = Callable[..., AbstractAsyncContextManager[Backend]]


def new_name() -> str:
    return f"user-{secrets.token_hex(6)}"


@pytest.fixture(name="new_name")
def _new_name() -> Callable[[], str]:
    return new_name


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that a test may kill."""
    with ValkeyServer.running(tmp_path / "valkey") as server:
        yield server


@pytest.fixture(scope="session", params=KINDS)
def dbs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Of each kind once for all tests: each makes users of its own."""
    folder = tmp_path_factory.mktemp("databases")
    with (
        migrated_database(request.param, folder, _migrations(auth_service)) as auth,
        migrated_database(request.param, folder, _migrations(user_service)) as user,
    ):
        yield Databases(auth, user)


@pytest.fixture(scope="session")
def valkey(dbs: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One for each kind of database: both count their users from the same number."""
    with ValkeyServer.running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def prepare(dbs: Databases, valkey: ValkeyServer, tmp_path: Path) -> Prepare:
    """Makes a Backend of which nothing runs yet; arguments are settings of auth-service."""

    @asynccontextmanager
    async def prepare(server: ValkeyServer = valkey, **settings: Any) -> AsyncIterator[Backend]:
        key_file = tmp_path / "keys.json"
        ensure_key_file(key_file)
        auth_at, users_at = (f"127.0.0.1:{free_port()}" for _ in range(2))
        shared = {"redis": server.conf, "internal_secret": SecretStr(SECRET)}
        auth_settings = {
            "name": "auth-service",
            "listen_on": auth_at,
            "db": dbs.auth,
            "bus": BusConf(kind="redis"),
            "keys": {"file": str(key_file)},
            "user_rpc": ClientConf(endpoints=[users_at]),
            # Nobody answers: what they have to do at the end of an account waits.
            "friend_rpc": ClientConf(endpoints=["127.0.0.1:9"]),
            "group_rpc": ClientConf(endpoints=["127.0.0.1:9"]),
            "bcrypt_cost": 4,
            **shared,
            **settings,
        }
        user_settings = {
            "name": "user-service",
            "listen_on": users_at,
            "db": dbs.user,
            "bus": BusConf(kind="redis"),
            # Nobody has friends, as nobody says who they are.
            "friend_rpc": ClientConf(endpoints=["127.0.0.1:9"]),
            "auth_rpc": ClientConf(endpoints=[auth_at]),
            **shared,
        }
        redis = open_redis(server.conf)
        try:
            yield Backend(
                auth=None,
                accounts=None,
                keys=None,
                audit=None,
                admin_sessions=None,
                users=None,
                redis=redis,
                auth_settings=AuthSettings(**auth_settings),
                user_settings=UserSettings(**user_settings),
            )
        finally:
            await redis.aclose()

    return prepare


@pytest.fixture
def start(prepare: Prepare) -> Start:
    """Starts both services; arguments are settings of auth-service."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Backend]:
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(prepare(**settings))
            await stack.enter_async_context(backend.users_running())
            await stack.enter_async_context(backend.auth_running())
            yield backend

    return start


@pytest.fixture
async def backend(start: Start) -> AsyncIterator[Backend]:
    async with start() as backend:
        yield backend


def _migrations(package: Any) -> Path:
    return Path(package.__file__).parent / "migrations"
