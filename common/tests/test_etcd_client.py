"""The etcd client's own errors, against a real etcd."""

import asyncio
from contextlib import aclosing

import pytest

from im_common.discovery import Compacted, EtcdClient, EtcdError, LeaseGone
from im_common.runtime.sections import EtcdConf
from im_common.testing.etcd import EtcdServer
from im_common.testing.pings import hasten_pings

HERE = "127.0.0.1:50051"
THERE = "127.0.0.1:50052"


async def test_a_watch_from_a_compacted_revision_is_an_error(
    etcd: EtcdServer, client: EtcdClient
) -> None:
    await client.put("user.rpc/1", HERE)
    await client.put("user.rpc/1", THERE)
    await etcd.compact((await client.range("user.rpc/"))[1])
    async with aclosing(client.watch("user.rpc/", 1)) as changes:
        with pytest.raises(Compacted):
            [_ async for _ in changes]


async def test_a_watch_of_a_frozen_etcd_ends(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pings of gRPC notice it; here they are more frequent than etcd would stand for long."""
    hasten_pings(monkeypatch, "im_common.discovery.access._OPTIONS")
    client = EtcdClient(etcd.conf)
    async with aclosing(client.watch("user.rpc/", 0)) as changes:
        assert await anext(changes) == {}
        etcd.freeze()
        with pytest.raises(EtcdError):
            await asyncio.wait_for(anext(changes), 15)
    await client.close()


async def test_a_lease_that_is_gone_is_told_apart(client: EtcdClient) -> None:
    with pytest.raises(LeaseGone):
        await client.put("user.rpc/7", HERE, lease=7)
    with pytest.raises(LeaseGone):
        await client.keep_alive(7)
    with pytest.raises(LeaseGone):
        await client.revoke(7)


async def test_a_client_without_hosts_is_an_error() -> None:
    with pytest.raises(ValueError, match="host"):
        EtcdClient(EtcdConf(hosts=[]))
