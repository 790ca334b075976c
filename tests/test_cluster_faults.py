"""Faults of Kafka and etcd that are clusters, under the load of `test_faults.py` and ending in the same
count. `scripts/infra up --with kafka-cluster --with etcd-cluster` starts these."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest
from im_cluster import (
    BROKERS,
    MEMBERS,
    broker_that_leads,
    conf_of_kafka,
    has_ended,
    member_that_leads,
)
from im_infra import frozen, kill, kill_and_start, real_pids, start_what_is_dead
from im_load import Load
from test_faults import FROZEN_S, loaded

from im_common.bus.topics import CHAT_TOPIC, EVENT_TOPIC
from im_common.testing.kafka import KafkaOperator
from im_common.testing.waiting import eventually
from im_local.testing import System

needs_kafka = pytest.mark.skipif(BROKERS[0] not in real_pids(), reason="Kafka is no cluster here")
needs_etcd = pytest.mark.skipif(MEMBERS[0] not in real_pids(), reason="etcd is no cluster here")


@pytest.fixture
async def load(system: System, http: httpx.AsyncClient) -> AsyncIterator[Load]:
    async with loaded(system, http) as running:
        yield running


@pytest.fixture
async def operator() -> AsyncIterator[KafkaOperator]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(KafkaOperator.connected(conf_of_kafka()))


@needs_kafka
async def test_a_broker_killed(system: System, load: Load) -> None:
    broker = await broker_that_leads(CHAT_TOPIC)
    load.watch("a broker killed, the others alone for 15 s")
    kill(system, broker)
    await load.run_for(FROZEN_S)
    await asyncio.to_thread(start_what_is_dead)
    await load.sent_after(time.monotonic())
    await eventually(is_in_sync, within_s=60)


@needs_kafka
async def test_a_broker_frozen(system: System, load: Load) -> None:
    broker = await broker_that_leads(CHAT_TOPIC)
    frozen_s = 2 * FROZEN_S
    load.watch(f"a broker frozen for {frozen_s:g} s")
    with frozen(system, broker):
        await load.run_for(frozen_s)
    await load.sent_after(time.monotonic())
    await eventually(is_in_sync, within_s=60)


@needs_kafka
async def test_the_brokers_restarted_one_after_the_other(system: System, load: Load) -> None:
    load.watch("a rolling restart of the brokers")
    for broker in BROKERS:
        pid = real_pids()[broker]
        kill(system, broker, signal.SIGTERM)
        await eventually(partial(has_ended, pid), within_s=60)
        await asyncio.to_thread(start_what_is_dead)
        # What an operator waits for before the next.
        await eventually(is_in_sync, within_s=60)
        await load.sent_after(time.monotonic())


@needs_kafka
async def test_the_partitions_of_a_topic_become_more(load: Load, operator: KafkaOperator) -> None:
    before = len(await operator.partitions(CHAT_TOPIC))
    load.watch(f"{before} partitions become {before + 3}")
    for topic in (CHAT_TOPIC, EVENT_TOPIC):
        await operator.add_partitions(topic, len(await operator.partitions(topic)) + 3)
    async with asyncio.timeout(90):
        while not any((await operator.ends(CHAT_TOPIC))[before:]):
            await load.run_for(1)
    await load.sent_after(time.monotonic() + 5)


@needs_etcd
@pytest.mark.parametrize("leads", [False, True], ids=["a follower", "the leader"])
async def test_a_member_of_etcd_killed(system: System, load: Load, leads: bool) -> None:
    """Meanwhile a service starts again, and is found."""
    member = await asyncio.to_thread(member_that_leads, leads)
    load.watch(f"{'the leader' if leads else 'a follower'} of etcd killed")
    kill(system, member)
    await load.sent_after(time.monotonic())
    await kill_and_start(system, "friend")
    await load.run_for(FROZEN_S)
    await asyncio.to_thread(start_what_is_dead)
    await load.sent_after(time.monotonic())


@needs_etcd
async def test_the_leader_of_etcd_frozen(system: System, load: Load) -> None:
    member = await asyncio.to_thread(member_that_leads, True)
    load.watch(f"the leader of etcd frozen for {FROZEN_S:g} s")
    with frozen(system, member):
        await load.run_for(FROZEN_S)
    await load.sent_after(time.monotonic())


async def is_in_sync() -> bool:
    """Through a client of its own: the brokers change."""
    async with KafkaOperator.connected(conf_of_kafka()) as operator:
        return await operator.in_sync()
