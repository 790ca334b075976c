"""aiokafka's clients, and letting go of them in bounded time.

Their own ``stop`` waits for undelivered batches and for a coordinator that may be away for hours;
the rest of the bus makes a new client instead of hoping for a stuck one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from random import sample
from typing import Any

import aiokafka
import aiokafka.admin
from aiokafka.consumer.group_coordinator import GroupCoordinator

from im_common.runtime.sections import BusConf
from im_common.runtime.tasks import is_told_to_end
from im_common.runtime.tls import client_context

# aiokafka has annotations in places only, and says so nowhere.
Client = Any
new_producer: Any = aiokafka.AIOKafkaProducer
new_consumer: Any = aiokafka.AIOKafkaConsumer
new_admin: Any = aiokafka.admin.AIOKafkaAdminClient
new_topic: Any = aiokafka.admin.NewTopic

REQUEST_TIMEOUT_MS = 10_000


@dataclass(frozen=True)
class Access:
    """Where Kafka is and how it is spoken to, for each client anew."""

    conf: BusConf

    def __post_init__(self) -> None:
        # What cannot be used is said at the start, not at each attempt to connect.
        self.arguments()

    def arguments(self) -> dict[str, Any]:
        """For a client of aiokafka's. Raises ValueError when a file of the settings cannot be used."""
        conf = self.conf
        # In another order each time, so that one dead broker does not delay every start.
        arguments: dict[str, Any] = {"bootstrap_servers": sample(conf.brokers, len(conf.brokers))}
        context = client_context(conf, "Bus")
        protocol = "SSL" if context else "PLAINTEXT"
        if conf.username:
            protocol = f"SASL_{protocol}"
            arguments |= {
                "sasl_mechanism": conf.mechanism,
                "sasl_plain_username": conf.username,
                "sasl_plain_password": conf.password.get_secret_value(),
            }
        return arguments | {"security_protocol": protocol, "ssl_context": context}


async def discard_producer(producer: Client) -> None:
    """Closes it whatever its state, without a flush: what it has not delivered stays unknown."""
    producer._closed = True
    sending = producer._sender.sender_task
    if sending is not None:
        # First it waits for its requests, which end with their connections; then it is made to.
        sending.cancel()
        await _close_client(producer.client)
        await _cancelled(sending)
    else:
        await _close_client(producer.client)


async def discard_consumer(consumer: Client) -> None:
    """Leaves the group when the coordinator answers, and closes it whatever its state."""
    if await _ended(consumer.stop(), 3):
        return
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    in_a_group = isinstance(coordinator, GroupCoordinator)
    if in_a_group:
        await _cancelled(coordinator._coordination_task)
        await _ended(coordinator._stop_heartbeat_task(), 1)
        await _ended(coordinator._stop_commit_offsets_refresh_task(), 1)
    if fetcher is not None:
        await _ended(fetcher.close(), 1)
    await _close_client(consumer._client)


async def _close_client(client: Client) -> None:
    updating, client._sync_task = client._sync_task, None
    if updating is not None:
        await _cancelled(updating)
    await _ended(client.close(), 1)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancels until it ends: aiokafka takes some cancellations for time-outs."""
    for _ in range(5):
        task.cancel()
        if (await asyncio.wait({task}, timeout=0.2))[0]:
            return


async def _ended(closing: Awaitable[Any], timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await closing
    except asyncio.CancelledError:
        # Also of a task of aiokafka's that was cancelled before it began.
        if is_told_to_end():
            raise
        return False
    except Exception:
        return False
    return True
