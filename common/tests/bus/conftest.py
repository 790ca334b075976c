"""Each log in turn, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from im_common.testing import buses
from im_common.testing.buses import Bus
from im_common.testing.valkey import ValkeyServer


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """Apart from that of the other tests: tests of the bus kill it."""
    with ValkeyServer.running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def streams_bus(valkey: ValkeyServer) -> AsyncIterator[Bus]:
    bus = buses.streams_bus(valkey)
    yield bus
    await bus.aclose()


@pytest.fixture
def kafka_bus() -> Bus:
    return buses.kafka_bus()


@pytest.fixture(
    params=[
        pytest.param("streams_bus", id="redis"),
        pytest.param("kafka_bus", id="kafka", marks=pytest.mark.infra),
    ]
)
def bus(request: pytest.FixtureRequest) -> Bus:
    """Each log in turn."""
    made: Bus = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def topic(bus: Bus) -> str:
    """A new topic of three partitions."""
    name = f"t-{uuid4().hex}"
    await bus.ensure_topics({name: 3})
    return name
