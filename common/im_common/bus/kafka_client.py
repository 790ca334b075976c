"""aiokafka's clients, and letting go of them in bounded time.

Their own ``stop`` waits for undelivered batches and for a coordinator that may be away for hours;
the rest of the bus makes a new client instead of hoping for a stuck one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from random import sample
from typing import Any

import aiokafka
import aiokafka.admin
from aiokafka.errors import KafkaError

# aiokafka has annotations in places only, and says so nowhere.
Client = Any
new_producer: Any = aiokafka.AIOKafkaProducer
new_consumer: Any = aiokafka.AIOKafkaConsumer
new_admin: Any = aiokafka.admin.AIOKafkaAdminClient
new_topic: Any = aiokafka.admin.NewTopic

REQUEST_TIMEOUT_MS = 10_000


def shuffled(brokers: Sequence[str]) -> list[str]:
    """In another order each time, so that one dead broker does not delay every start."""
    return sample(list(brokers), len(brokers))


async def discard_producer(producer: Client) -> None:
    """Closes it whatever its state; what it has not delivered fails."""
    # stop() would flush, for ever when the brokers are away: let it find nothing to flush.
    producer._message_accumulator.fail_all(KafkaError("the producer was given up"))
    if await _ended(producer.stop(), 2):
        return
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    await _ended(producer.client.close(), 1)


async def discard_consumer(consumer: Client) -> None:
    """Leaves the group when the coordinator answers, and closes it whatever its state."""
    if await _ended(consumer.stop(), 3):
        return
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    if coordinator is not None:
        coordinator._coordination_task.cancel()
        await _ended(coordinator._stop_heartbeat_task(), 1)
        await _ended(coordinator._stop_commit_offsets_refresh_task(), 1)
    if fetcher is not None:
        await _ended(fetcher.close(), 1)
    await _ended(consumer._client.close(), 1)


async def _ended(closing: Awaitable[Any], timeout_s: float) -> bool:
    with suppress(Exception):
        async with asyncio.timeout(timeout_s):
            await closing
        return True
    return False
