"""Topics that must exist before anybody uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from im_common.bus.interface import BusUnavailable
from im_common.bus.kafka.client import REQUEST_TIMEOUT_MS, Access, Client, new_admin, new_topic
from im_common.runtime.backoff import describe
from im_common.runtime.sections import BusConf

log = structlog.get_logger(__name__)

_MOST_REPLICAS = 3


async def ensure_topics(topics: Mapping[str, int], access: Access) -> None:
    """As ``Bus.ensure_topics`` has it. A new topic has as many replicas as the settings say, or three,
    or as many as there are brokers."""
    async with _admin(access, "topics cannot be made") as admin:
        known = set(await admin.list_topics())
        missing = {name: count for name, count in topics.items() if name not in known}
        if missing:
            await _create(admin, missing, access.conf)
        present = [name for name in topics if name in known]
        if present:
            _compare(await admin.describe_topics(present), topics, access.conf)


async def partitions_of(topic: str, access: Access) -> list[int]:
    """Their numbers; none when the topic is not there. To ask for one by name could make it.

    Raises:
        BusUnavailable: Kafka is away.
    """
    async with _admin(access, "topics cannot be looked up") as admin:
        if topic not in await admin.list_topics():
            return []
        (found,) = await admin.describe_topics([topic])
        return sorted(partition["partition"] for partition in found["partitions"])


@asynccontextmanager
async def _admin(access: Access, problem: str) -> AsyncIterator[Client]:
    admin = new_admin(**access.arguments(), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise BusUnavailable(f"{problem}: {describe(error)}") from error
    finally:
        await admin.close()


async def _create(admin: Client, topics: Mapping[str, int], conf: BusConf) -> None:
    replication = conf.replication
    if not replication:
        replication = min(_MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))
    # One of them may be away, and yet a record is in two places before it counts as safe.
    configs = {"min.insync.replicas": str(conf.min_in_sync or max(1, replication - 1))}
    answer = await admin.create_topics(
        [
            new_topic(
                name, num_partitions=count, replication_factor=replication, topic_configs=configs
            )
            for name, count in topics.items()
        ]
    )
    for name, code, *said in answer.topic_errors:
        error = for_code(code)
        if error not in (NoError, TopicAlreadyExistsError):
            reason = " ".join([error.__name__, *filter(None, said)])
            raise BusUnavailable(f"topic {name} cannot be made: {reason}")
    log.info("bus.topics_created", topics=list(topics), replication=replication, **configs)


def _compare(
    described: Sequence[Mapping[str, Any]], wanted: Mapping[str, int], conf: BusConf
) -> None:
    """Tells of what stays as it is, although the settings say otherwise."""
    for found in described:
        topic, partitions = found["topic"], found["partitions"]
        if len(partitions) < wanted[topic]:
            log.warning(
                "bus.fewer_partitions", topic=topic, found=len(partitions), wanted=wanted[topic]
            )
        replicas = min((len(one["replicas"]) for one in partitions), default=0)
        if replicas < conf.replication:
            log.warning("bus.fewer_replicas", topic=topic, found=replicas, wanted=conf.replication)
