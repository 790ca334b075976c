"""Real servers for the tests of common."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from im_common.discovery import EtcdClient
from im_common.testing.etcd import EtcdServer
from im_common.testing.fixtures import redis, valkey

__all__ = ["redis", "valkey"]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer.running(tmp_path / "etcd") as server:
        yield server


@pytest.fixture
async def client(etcd: EtcdServer) -> AsyncIterator[EtcdClient]:
    client = EtcdClient(etcd.conf, timeout_s=1.0)
    yield client
    await client.close()
