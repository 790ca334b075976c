"""What the bus uses of its libraries though they promise nothing of it: here it shows when it is
gone."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.sender import Sender
from redis.asyncio import Redis

import im_common.bus
from im_common.bus.streams import layout

# The private names of aiokafka, and where ``kafka/client.py`` expects them.
AIOKAFKA = {
    "_closed": AIOKafkaProducer,
    "_sender": AIOKafkaProducer,
    "_client": AIOKafkaConsumer,
    "_coordinator": AIOKafkaConsumer,
    "_fetcher": AIOKafkaConsumer,
    "_sync_task": AIOKafkaClient,
    "_coordination_task": GroupCoordinator,
    "_stop_heartbeat_task": GroupCoordinator,
    "_stop_commit_offsets_refresh_task": GroupCoordinator,
}
# Not private by their names, and in no documentation: the module of GroupCoordinator, and these.
UNDOCUMENTED = {
    "client": AIOKafkaProducer,
    "sender_task": Sender,
    "close": Fetcher,
    "fetch_all_metadata": AIOKafkaClient,
}


@pytest.fixture
async def objects() -> AsyncIterator[dict[type, Any]]:
    """One of each, as they are before they connect."""
    producer, consumer = AIOKafkaProducer(), AIOKafkaConsumer(group_id="g")
    coordinator = GroupCoordinator(consumer._client, SubscriptionState())
    made = [producer, consumer, coordinator, producer._sender, consumer._client]
    yield {type(one): one for one in made} | {Fetcher: Fetcher}
    coordinator._coordination_task.cancel()
    await asyncio.gather(coordinator._coordination_task, return_exceptions=True)
    for one in (producer, consumer):
        one._closed = True


async def test_each_is_where_the_bus_expects_it(objects: dict[type, Any]) -> None:
    expected = {**AIOKAFKA, **UNDOCUMENTED}
    gone = [name for name, owner in expected.items() if not hasattr(objects[owner], name)]
    assert gone == []
    coordinator = objects[GroupCoordinator]
    assert isinstance(coordinator._coordination_task, asyncio.Task)
    for awaited in (
        *(coordinator._stop_heartbeat_task, coordinator._stop_commit_offsets_refresh_task),
        *(Fetcher.close, AIOKafkaClient.close),
    ):
        assert inspect.iscoroutinefunction(awaited)


def test_no_other_is_used() -> None:
    assert private_names(Path(im_common.bus.__file__).parent) == set(AIOKAFKA)


def private_names(folder: Path) -> set[str]:
    """Those of other objects than one's own."""
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
                and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
            ):
                found.add(node.attr)
    return found


async def test_what_a_client_of_redis_says_of_its_connections_makes_another() -> None:
    """The names that are left out (``layout._NOT_COPIED``) are no arguments of a connection."""
    redis = Redis(host="127.0.0.1", port=1)
    own = layout.own_client(redis, timeout_s=1.0)
    connection = own.connection_pool.make_connection()
    assert (connection.host, connection.port) == ("127.0.0.1", 1)
    left_out = [
        name
        for name in redis.connection_pool.connection_kwargs
        if name.startswith(layout._NOT_COPIED)
    ]
    # What none of them has any more need not be named.
    assert left_out
    await own.aclose()
    await redis.aclose()
