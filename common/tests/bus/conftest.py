"""Each log in turn, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from im_common.testing.buses import Bus, StreamsBus, kafka_of_the_infra
from im_common.testing.valkey import ValkeyServer


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """Apart from that of the other tests: tests of the bus kill it."""
    with ValkeyServer.running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def streams_bus(valkey: ValkeyServer) -> AsyncIterator[StreamsBus]:
    bus = StreamsBus(valkey.conf.host, valkey)
    yield bus
    await bus.aclose()


@pytest.fixture(params=["redis", pytest.param("kafka", marks=pytest.mark.infra)])
def bus(request: pytest.FixtureRequest) -> Bus:
    """Each log in turn."""
    if request.param == "kafka":
        return kafka_of_the_infra()
    on_streams: StreamsBus = request.getfixturevalue("streams_bus")
    return on_streams


@pytest.fixture
async def topic(bus: Bus) -> str:
    """A new topic of three partitions."""
    name = f"t-{uuid4().hex}"
    await bus.ensure_topics({name: 3})
    return name
