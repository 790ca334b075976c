"""Redis lost or away, a process killed in the middle of Register."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from im.auth.v1 import auth_pb2 as pb
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im.user.v1 import user_pb2
from im.user.v1.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from im_common.errors import Code
from im_common.rpc.channel_options import PINGS_ALLOWED
from im_common.testing.services import SECRET, call, channel_to, refusal
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Backend, Prepare, Start

    from im_common.testing.valkey import ValkeyServer

PASSWORD = "correct horse"


async def test_after_redis_was_emptied_everyone_logs_in_again(
    start: Start, own_valkey: ValkeyServer, new_name: Callable[[], str]
) -> None:
    async with start(server=own_valkey) as backend:
        name = new_name()
        pair = await backend.register(name)
        await backend.redis.flushall()

        assert (await refusal(backend.validate(pair.access_token))).code is Code.SESSION_REVOKED
        assert (await refusal(backend.refresh(pair.refresh_token))).code is Code.SESSION_REVOKED
        assert (await refusal(backend.sessions(pair.access_token))).code is Code.SESSION_REVOKED
        again = await backend.login(name)
        assert len(await backend.sessions(again.access_token)) == 1


async def test_while_redis_is_down_nobody_gets_in(
    start: Start, own_valkey: ValkeyServer, new_name: Callable[[], str]
) -> None:
    async with start(server=own_valkey) as backend:
        name = new_name()
        pair = await backend.register(name)
        own_valkey.kill()

        for attempt in (
            backend.login(name),
            backend.login(name, "wrong password"),
            backend.register(),
            backend.validate(pair.access_token),
            backend.refresh(pair.refresh_token),
            backend.sessions(pair.access_token),
        ):
            assert (await refusal(attempt)).code is Code.UNAVAILABLE

        own_valkey.start()
        await eventually(lambda: backend.validate(pair.access_token))
        await backend.refresh(pair.refresh_token)


async def test_a_password_is_not_changed_while_redis_is_down(
    start: Start, own_valkey: ValkeyServer, new_name: Callable[[], str]
) -> None:
    async with start(server=own_valkey, rate_limits="off") as backend:
        name = new_name()
        pair = await backend.register(name)
        own_valkey.kill()
        error = await refusal(
            backend.change_password(pair.access_token, PASSWORD, "battery staple")
        )
        assert error.code is Code.UNAVAILABLE

        own_valkey.start()
        await backend.login(name)


@pytest.mark.parametrize("mended_by", ["register", "login"])
async def test_auth_service_killed_between_credentials_and_profile(
    prepare: Prepare,
    own_valkey: ValkeyServer,
    new_name: Callable[[], str],
    tmp_path: Path,
    mended_by: str,
) -> None:
    name = new_name()
    async with prepare(server=own_valkey) as backend:
        async with silent_user_service(backend) as asked:
            process = await start_process(backend, tmp_path)
            answer = asyncio.create_task(refusal(register_at(backend, name)))
            async with asyncio.timeout(20):
                user_id = await asked
            process.kill()
            await process.wait()
            assert (await answer).code is Code.UNAVAILABLE

        async with backend.users_running(), backend.auth_running():
            pair = await getattr(backend, mended_by)(name)

            assert pair.user_id == user_id
            assert (await backend.profile(pair.access_token)).user.username == name
            assert (await refusal(backend.register(name))).code is Code.ALREADY_EXISTS


@asynccontextmanager
async def silent_user_service(backend: Backend) -> AsyncIterator[asyncio.Future[int]]:
    """Takes the call for a profile and never answers; gives the user it was for."""
    asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Silent(UserServiceServicer):
        async def CreateProfile(self, request: user_pb2.CreateProfileRequest, _: Any) -> Any:
            if not asked.done():
                asked.set_result(request.user_id)
            await asyncio.sleep(60)

    server = grpc.aio.server(options=PINGS_ALLOWED)
    add_UserServiceServicer_to_server(Silent(), server)
    server.add_insecure_port(backend.user_settings.listen_on)
    await server.start()
    try:
        yield asked
    finally:
        await server.stop(None)


async def start_process(backend: Backend, folder: Path) -> Process:
    """auth-service in a process of its own, when it answers."""
    settings = backend.auth_settings
    config = folder / "auth.yaml"
    config.write_text("Name: auth-service\nBcryptCost: 4\nDevServer: {Port: 0}\n")
    environment = {n: v for n, v in os.environ.items() if not n.startswith("IM_")} | {
        "IM_INTERNAL_SECRET": SECRET,
        "IM_LISTEN_ON": settings.listen_on,
        "IM_REDIS__HOST": settings.redis.host,
        "IM_DB__DATA_SOURCE": settings.db.data_source,
        "IM_DB__PASSWORD": settings.db.password.get_secret_value(),
        "IM_KEYS__FILE": settings.keys.file,
        "IM_USER_RPC__ENDPOINTS": ",".join(settings.user_rpc.endpoints),
    }
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "auth_service", "serve", "-f", config], env=environment
    )
    async with channel_to(settings.listen_on) as channel:
        async with asyncio.timeout(30):
            await channel.channel_ready()
    return process


async def register_at(backend: Backend, name: str) -> Any:
    async with channel_to(backend.auth_settings.listen_on) as channel:
        request = pb.RegisterRequest(username=name, password=PASSWORD)
        return await call(AuthServiceStub(channel).Register, request)
