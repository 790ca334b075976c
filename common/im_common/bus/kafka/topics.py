"""Topics that must exist before anybody uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from im_common.bus.interface import BusUnavailable
from im_common.bus.kafka.client import (
    REQUEST_TIMEOUT_MS,
    Client,
    new_admin,
    new_topic,
    shuffled,
)
from im_common.runtime.backoff import describe

log = structlog.get_logger(__name__)


async def ensure_topics(
    topics: Mapping[str, int], *, brokers: Sequence[str], replication: int | None = None
) -> None:
    """As ``Bus.ensure_topics`` has it. Without ``replication`` a new topic has three replicas, or as
    many as there are brokers."""
    async with _admin(brokers, "topics cannot be made") as admin:
        await _create_missing(admin, topics, replication)


async def partitions_of(topic: str, *, brokers: Sequence[str]) -> list[int]:
    """Their numbers; none when the topic is not there. To ask for one by name could make it.

    Raises:
        BusUnavailable: Kafka is away.
    """
    async with _admin(brokers, "topics cannot be looked up") as admin:
        if topic not in await admin.list_topics():
            return []
        (found,) = await admin.describe_topics([topic])
        return sorted(partition["partition"] for partition in found["partitions"])


@asynccontextmanager
async def _admin(brokers: Sequence[str], problem: str) -> AsyncIterator[Client]:
    admin = new_admin(bootstrap_servers=shuffled(brokers), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise BusUnavailable(f"{problem}: {describe(error)}") from error
    finally:
        await admin.close()


async def _create_missing(
    admin: Client, topics: Mapping[str, int], replication: int | None
) -> None:
    known = set(await admin.list_topics())
    missing = [name for name in topics if name not in known]
    if missing:
        if replication is None:
            replication = min(3, len((await admin.describe_cluster())["brokers"]))
        answer = await admin.create_topics(
            [
                new_topic(name, num_partitions=topics[name], replication_factor=replication)
                for name in missing
            ]
        )
        for name, code, *_ in answer.topic_errors:
            error = for_code(code)
            if error not in (NoError, TopicAlreadyExistsError):
                raise BusUnavailable(f"topic {name} cannot be made: {error.__name__}")
        log.info("bus.topics_created", topics=missing)
    present = [name for name in topics if name in known]
    if present:
        for found in await admin.describe_topics(present):
            count = len(found["partitions"])
            if count < topics[found["topic"]]:
                log.warning(
                    "bus.fewer_partitions",
                    topic=found["topic"],
                    found=count,
                    wanted=topics[found["topic"]],
                )
