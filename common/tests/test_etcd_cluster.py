"""Three members of etcd that ask for a password and a certificate, and what is seen when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import grpc
import pytest
from pydantic import SecretStr

from im_common.discovery import EndpointWatcher, EtcdClient, EtcdError, Registration
from im_common.discovery.access import Access, Connection
from im_common.runtime.sections import EtcdConf
from im_common.testing.etcd import EtcdCluster
from im_common.testing.waiting import eventually

HERE = "127.0.0.1:50051"
THERE = "127.0.0.1:50052"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster.running(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: EtcdCluster) -> AsyncIterator[EtcdClient]:
    client = EtcdClient(cluster.conf)
    yield client
    await client.close()


@asynccontextmanager
async def found(client: EtcdClient, address: str) -> AsyncIterator[Registration]:
    registration = Registration(client, "user.rpc", address)
    await registration.start()
    try:
        yield registration
    finally:
        await registration.stop()


@asynccontextmanager
async def watched(client: EtcdClient) -> AsyncIterator[EndpointWatcher]:
    watcher = EndpointWatcher(client, "user.rpc")
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def test_who_shows_a_certificate_and_knows_the_password_is_let_in(
    client: EtcdClient,
) -> None:
    async with found(client, HERE) as registration, watched(client) as watcher:
        assert registration.registered
        await eventually(lambda: watcher.endpoints == {HERE})


@pytest.mark.parametrize(
    "changes",
    [
        {"password": SecretStr("wrong")},
        {"cert_file": "", "cert_key_file": ""},
        {"ca_cert_file": ""},
        {"ca_cert_file": "", "cert_file": "", "cert_key_file": ""},
    ],
    ids=["wrong password", "no certificate", "not trusted", "no TLS"],
)
async def test_nobody_else_is(cluster: EtcdCluster, changes: dict[str, object]) -> None:
    client = EtcdClient(cluster.conf.model_copy(update=changes))
    with pytest.raises(EtcdError):
        await client.range("user.rpc/")
    await client.close()


async def test_a_log_in_that_has_run_out_is_made_again(
    cluster: EtcdCluster, client: EtcdClient
) -> None:
    """On the same connection: what others wait for on it goes on."""
    await client.put("any", "1")
    connection = client._connection
    password = cluster.conf.password.get_secret_value()
    # Though it is the same again, who is logged in has to show it anew.
    change = partial(cluster.control, "user", "passwd", "im", "--interactive=false")
    await asyncio.to_thread(change, given=password)
    await client.put("any", "2")
    assert (await client.range("any"))[0] == {"any": "2"}
    assert client._connection is connection


async def test_the_entry_stays_and_new_ones_are_found_while_the_leader_dies(
    cluster: EtcdCluster, client: EtcdClient
) -> None:
    other = EtcdClient(cluster.conf)
    lost: list[frozenset[str]] = []
    async with found(client, HERE) as registration, watched(other) as watcher:
        await eventually(lambda: watcher.endpoints)
        watcher.on_change = lost.append
        leader = await asyncio.to_thread(cluster.leader)
        leader.kill()
        async with found(client, THERE):
            await eventually(lambda: watcher.endpoints == {HERE, THERE}, within_s=15)
            assert registration.registered
        await asyncio.to_thread(leader.start)
        await eventually(lambda: watcher.endpoints == {HERE}, within_s=15)
        assert all(HERE in endpoints for endpoints in lost)
    await other.close()


async def test_a_client_goes_on_while_one_member_says_nothing(
    cluster: EtcdCluster, client: EtcdClient
) -> None:
    member = await asyncio.to_thread(cluster.leader)
    await client.range("user.rpc/")
    member.freeze()
    try:
        await eventually(lambda: _takes(client, "any", "x"), within_s=15)
        assert (await client.range("any"))[0] == {"any": "x"}
    finally:
        member.thaw()


async def _takes(client: EtcdClient, key: str, value: str) -> bool:
    try:
        await client.put(key, value)
    except EtcdError:
        return False
    return True


def test_a_file_that_is_not_there_is_named() -> None:
    conf = EtcdConf(ca_cert_file="none.pem")
    with pytest.raises(ValueError, match=r"Etcd\.CACertFile.*none\.pem"):
        EtcdClient(conf)


@pytest.mark.parametrize(
    "said", ["etcdserver: revision of auth store is old", "auth: revision in header is old"]
)
async def test_a_log_in_has_run_out_in_either_words(cluster: EtcdCluster, said: str) -> None:
    connection = Connection(cluster.conf.hosts[0], Access(cluster.conf))
    none = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, none, none, details=said)
    assert connection.is_logged_out(error)
    await connection.channel.close()
