"""What an operator does to Kafka, and sees of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import aiokafka.admin
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResourceType

from im_common.bus.kafka.client import Access, Client, discard_consumer, new_admin, new_consumer
from im_common.runtime.sections import BusConf

# aiokafka has annotations in places only.
_new_partitions: Any = aiokafka.admin.NewPartitions
_resource: Any = aiokafka.admin.config_resource.ConfigResource


class KafkaOperator:
    """Logged in as the settings say, until the block ends."""

    def __init__(self, admin: Client, reader: Client) -> None:
        self._admin = admin
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def connected(cls, conf: BusConf) -> AsyncIterator[Self]:
        admin = new_admin(**Access(conf).arguments())
        reader = new_consumer(**Access(conf).arguments())
        try:
            await admin.start()
            await reader.start()
            yield cls(admin, reader)
        finally:
            await discard_consumer(reader)
            await admin.close()

    async def brokers(self) -> int:
        return len((await self._admin.describe_cluster())["brokers"])

    async def partitions(self, topic: str) -> list[dict[str, Any]]:
        """Of each its `partition`, `leader`, `replicas` and `isr`."""
        (found,) = await self._admin.describe_topics([topic])
        partitions: list[dict[str, Any]] = found["partitions"]
        return partitions

    async def add_partitions(self, topic: str, total: int) -> None:
        await self._admin.create_partitions({topic: _new_partitions(total)})

    async def in_sync(self) -> bool:
        """Whether every replica of every topic has all."""
        topics = await self._admin.describe_topics()
        partitions = [one for topic in topics for one in topic["partitions"]]
        return all(set(one["isr"]) == set(one["replicas"]) for one in partitions)

    async def ends(self, topic: str) -> list[int]:
        """How many records each partition has had."""
        names = [TopicPartition(topic, one["partition"]) for one in await self.partitions(topic)]
        ends = await self._reader.end_offsets(names)
        return [ends[name] for name in sorted(names)]

    async def setting(self, topic: str, name: str) -> str:
        resource = _resource(ConfigResourceType.TOPIC, topic, configs={name: ""})
        (answer,) = await self._admin.describe_configs([resource])
        entries = answer.resources[0][4]
        (value,) = [entry[1] for entry in entries if entry[0] == name]
        return str(value)
