"""The whole system with TLS between its services, whose certificates and authority are replaced under
load, and nothing is lost; who has the old ones is refused from then on."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from im_infra import kill_and_start
from test_faults import loaded
from test_grpc import BUF

from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, IsBlockedRequest
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im_bench.rpc import channel_to
from im_common.testing.certificates import PEER_NAME, Authority, Pair, PeerFolder
from im_common.testing.waiting import eventually
from im_local import processes
from im_local.testing import System

OLD, NEW = Authority("old"), Authority("new")
RATE = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> PeerFolder:
    folder = PeerFolder(tmp_path_factory.mktemp("certificates"))
    return folder.put(trusted=[OLD], pair=OLD.issue())


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, folder: PeerFolder) -> Iterator[System]:
    env = {"IM_RATE_LIMITS": "off", "IM_BCRYPT_COST": "4", **folder.variables}
    scale = {"ws-gateway": 2, "chat-mq": 2}
    with System.start(tmp_path_factory.mktemp("secured"), env=env, scale=scale) as system:
        yield system


async def test_certificates_and_authority_are_replaced_under_load_and_nothing_is_lost(
    secured: System, folder: PeerFolder
) -> None:
    async with (
        httpx.AsyncClient(base_url=secured.ready.api, timeout=15) as http,
        loaded(secured, http, rate=RATE) as load,
    ):
        load.watch("all certificates replaced, and who signs them")
        await _replace(secured, folder, trusted=[OLD, NEW])
        await load.run_for(1.0)
        await _replace(secured, folder, pair=NEW.issue())
        await load.run_for(1.0)
        await _replace(secured, folder, trusted=[NEW])
        await load.run_for(1.0)
        assert not load.refused
        # All have to find it again, with what they have now.
        await kill_and_start(secured, "chat")
        await load.sent_after(time.monotonic())
        for address in secured.ready.grpc.values():
            assert await _health(address, NEW, NEW.issue()) == "SERVING"
            # Nor by trusting the new one alone.
            assert await _health(address, OLD, OLD.issue()) == "UNAVAILABLE"
            assert await _health(address, NEW, OLD.issue()) == "UNAVAILABLE"
            assert await _health(address, NEW, None) == "UNAVAILABLE"


async def test_a_developer_calls_a_service_with_a_certificate(
    secured: System, folder: PeerFolder
) -> None:
    conf = folder.conf
    done = await asyncio.to_thread(
        subprocess.run,
        [BUF, "curl", "--protocol", "grpc", "--cacert", conf.ca_cert_file, "--cert", conf.cert_file,
         "--key", conf.cert_key_file, "--servername", PEER_NAME, "--list-methods",
         f"https://{secured.ready.grpc['user']}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "im.user.v1.UserService/" in done.stdout, done.stderr


async def test_so_do_the_benchmarks(secured: System) -> None:
    asked = BatchIsBlockedRequest(pairs=[IsBlockedRequest(user_id=1, target_id=2)])
    async with channel_to(secured.ready, "friend") as channel:
        answer = await FriendServiceStub(channel).BatchIsBlocked(asked)
    assert list(answer.blocked) == [False]


async def _replace(
    system: System,
    folder: PeerFolder,
    *,
    trusted: Sequence[Authority] = (),
    pair: Pair | None = None,
) -> None:
    """Returns when every process has taken it."""
    before = {name: _taken(system, name) for name in system.ready.dev}
    assert len(before) == len(processes.SERVICES) + 2
    folder.put(trusted=trusted, pair=pair)

    async def is_taken() -> bool:
        return all(_taken(system, name) > count for name, count in before.items())

    await eventually(is_taken, within_s=30)


def _taken(system: System, name: str) -> int:
    return system.log(name).count("certificates replaced")


async def _health(address: str, trusted: Authority, shown: Pair | None) -> str:
    """What a server says on a new connection, or the status of the call."""
    credentials = grpc.ssl_channel_credentials(
        trusted.pem, shown.key if shown else None, shown.certificate if shown else None
    )
    options = [("grpc.default_authority", PEER_NAME), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
