"""What runs beside the calls, and beside the batches, lasts as long as the process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr

import chat_service.mq.config
import chat_service.mq.worker
import chat_service.server
from chat_service.config import Settings
from chat_service.logic.notify import Notifier
from chat_service.logic.presence import PresenceTeller
from chat_service.mq.blocks import Blocks
from im_common.bus.streams.consumer import StreamsConsumer
from im_common.bus.streams.layout import owner_key
from im_common.bus.topics import CHAT_TOPIC, EVENT_TOPIC
from im_common.domain.in_flight import InFlight
from im_common.runtime.dev_server import DevServer
from im_common.runtime.redis_client import open_redis
from im_common.runtime.resources import Resources
from im_common.runtime.sections import BusConf, ClientConf, DbConf, DevServerConf
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, run_to_the_end
from im_common.testing.valkey import ValkeyServer

NOBODY = ClientConf(endpoints=["127.0.0.1:1"])


async def fail(*_args: object) -> None:
    raise RuntimeError("a bug")


def common(db: DbConf, lone_valkey: ValkeyServer) -> dict[str, Any]:
    return {
        "db": db,
        "redis": lone_valkey.conf,
        "bus": BusConf(kind="redis"),
        "internal_secret": SecretStr(SECRET),
        "user_rpc": NOBODY,
        "friend_rpc": NOBODY,
        "group_rpc": NOBODY,
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Notifier, "notifier"), (InFlight, "in-flight"), (PresenceTeller, "presence")],
)
async def test_a_bug_in_a_part_ends_the_service(
    kind: type,
    name: str,
    db_conf: DbConf,
    lone_valkey: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kind, "run", fail)
    settings = Settings(
        name="chat-service",
        listen_on=f"127.0.0.1:{free_port()}",
        auth_rpc=NOBODY,
        **common(db_conf, lone_valkey),
    )
    resources = await run_to_the_end(chat_service.server.serve, settings)
    assert resources.failed == [name]
    assert await resources.dev_server.failing()


@pytest.mark.parametrize(
    ("kind", "method", "names"),
    [
        (Blocks, "keep_leases", ["leases"]),
        (StreamsConsumer, "run", ["consumer of im-chat-topic", "consumer of im-event-topic"]),
    ],
)
async def test_a_bug_in_a_part_ends_the_consumer(
    kind: type,
    method: str,
    names: list[str],
    db_conf: DbConf,
    lone_valkey: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kind, method, fail)
    settings = chat_service.mq.config.Settings(name="chat-mq", **common(db_conf, lone_valkey))
    resources = await run_to_the_end(chat_service.mq.worker.serve, settings)
    assert sorted(resources.failed) == names
    assert await resources.dev_server.failing()


async def test_a_consumer_that_is_asked_to_end_leaves_its_partitions_to_others(
    db_conf: DbConf, lone_valkey: ValkeyServer
) -> None:
    """At once: nobody waits until its leases run out."""
    settings = chat_service.mq.config.Settings(name="chat-mq", **common(db_conf, lone_valkey))
    redis = open_redis(lone_valkey.conf)
    owners = [owner_key(topic, 0) for topic in (CHAT_TOPIC, EVENT_TOPIC)]
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        stack.push_async_callback(redis.aclose)
        dev_server = DevServer(DevServerConf(port=0), settings.name)
        resources = Resources(settings, dev_server, stack)
        serving = asyncio.create_task(chat_service.mq.worker.serve(settings, resources))
        while await redis.exists(*owners) < len(owners):
            await asyncio.sleep(0.02)
        resources.ending.set()
        await serving
        assert await redis.exists(*owners) == 0
