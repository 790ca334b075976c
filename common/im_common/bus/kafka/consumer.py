"""Records out of Kafka: a member of a consumer group, a pipeline for the partitions it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from im_common.bus.backoff import Backoff, describe
from im_common.bus.interface import BusUnavailable, Handler
from im_common.bus.kafka.client import (
    REQUEST_TIMEOUT_MS,
    Client,
    discard_consumer,
    new_consumer,
    shuffled,
)
from im_common.bus.kafka.records import read_record
from im_common.bus.pipeline import Partition, Pipeline

log = structlog.get_logger(__name__)

_JOIN_TIMEOUT_S = 30.0
# Longer than aiokafka repeats one request: what it shields from a cancellation it forgets to await.
_COMMIT_TIMEOUT_S = 30.0
_PING_TIMEOUT_S = 3.0
_WATCH_EVERY_S = 5.0
_STUCK_CHECKS = 4
# The group waits this long for its members to give up their partitions and come again; what is in
# hand must be finished within it. A JoinGroup request is held by the broker just as long.
_REBALANCE_TIMEOUT_MS = 8_000
_REVOKE_DRAIN_S = 3.5
_STOP_DRAIN_S = 5.0


class _Stuck(Exception):
    """There are records, and aiokafka does not hand them out."""


class KafkaConsumer:
    """One member of ``group``. Offsets are committed by hand after the effect.

    ``topics`` are names (a mapping of names to partition counts is as good). After an outage that
    aiokafka does not survive, its client is thrown away and the group joined anew.
    """

    def __init__(
        self,
        *,
        brokers: Sequence[str],
        group: str,
        topics: Iterable[str],
        client_id: str,
        max_batch: int = 500,
        session_timeout_ms: int = 6_000,
    ) -> None:
        self._brokers = list(brokers)
        self._group = group
        self._topics = list(topics)
        self._client_id = client_id
        self._max_batch = max_batch
        self._session_timeout_ms = session_timeout_ms
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._client: Client = None
        self._handler: Handler | None = None
        self._pipeline: Pipeline | None = None
        self._partitions: dict[TopicPartition, Partition] = {}
        self._resuming: set[asyncio.Task[None]] = set()
        self._joined = False
        self._lag = 0

    # --- Consumer ----------------------------------------------------------------------------

    async def run(self, handler: Handler) -> None:
        self._handler = handler
        self._ended.clear()
        backoff = Backoff(0.1, 2.0)
        try:
            while not self._stopping.is_set():
                try:
                    await self._take_part(backoff)
                except Exception as error:
                    pause_s = backoff.next_s()
                    log.warning(
                        "bus.consumer_failed",
                        group=self._group,
                        error=describe(error),
                        retry_in_s=round(pause_s, 2),
                    )
                    await self._pause(pause_s)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        self._stopping.set()
        await self._ended.wait()

    def ready(self) -> bool:
        return self._joined

    def lag(self) -> int:
        return self._lag

    async def ping(self) -> None:
        try:
            if self._client is None:
                raise BusUnavailable("not connected")
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._client.topics()
        except (KafkaError, TimeoutError) as error:
            raise BusUnavailable(f"no answer from Kafka: {describe(error)}") from error

    # --- one life of an aiokafka client --------------------------------------------------------

    async def _take_part(self, backoff: Backoff) -> None:
        """Returns after ``stop``; raises when the client is of no more use."""
        assert self._handler is not None
        client = self._client = self._new_client()
        pipeline = self._pipeline = Pipeline(
            self._handler, partial(_commit, client), max_batch=self._max_batch
        )
        reading = asyncio.create_task(self._read(client, backoff))
        watching = asyncio.create_task(self._watch(client))
        stopping = asyncio.create_task(self._stopping.wait())
        tasks: set[asyncio.Task[Any]] = {reading, watching, stopping}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping.is_set():
                for task in (reading, watching):
                    if task.done():
                        task.result()
            reading.cancel()
            await self._end(set(self._partitions), _STOP_DRAIN_S)
        finally:
            for task in (*tasks, *self._resuming):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._joined, self._lag, self._client, self._pipeline = False, 0, None, None
            await pipeline.close()
            self._partitions.clear()
            await discard_consumer(client)

    def _new_client(self) -> Client:
        return new_consumer(
            bootstrap_servers=shuffled(self._brokers),
            client_id=self._client_id,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=min(2_000, self._session_timeout_ms // 3),
            rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=300_000,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            # One record ends the wait. The limit matters only to a partition that was paused when
            # the request went out.
            fetch_min_bytes=1,
            fetch_max_wait_ms=250,
            max_partition_fetch_bytes=256 * 1024,
            metadata_max_age_ms=60_000,
        )

    async def _read(self, client: Client, backoff: Backoff) -> None:
        async with asyncio.timeout(_JOIN_TIMEOUT_S):
            client.subscribe(topics=self._topics, listener=_Listener(self, client))
            await client.start()
        self._joined = True
        backoff.reset()
        log.info("bus.consumer_joined", group=self._group, topics=self._topics)
        while True:
            for name, records in (await client.getmany(timeout_ms=1_000)).items():
                # One that is not ours was revoked: whoever gets it next reads it again.
                partition = self._partitions.get(name)
                if partition is not None:
                    partition.feed([read_record(record) for record in records])
                    if partition.full():
                        self._pause_partition(client, name, partition)

    def _pause_partition(self, client: Client, name: TopicPartition, partition: Partition) -> None:
        async def resume() -> None:
            await partition.room()
            if self._partitions.get(name) is partition:
                with suppress(IllegalStateError):
                    client.resume(name)

        with suppress(IllegalStateError):
            client.pause(name)
        task = asyncio.create_task(resume())
        self._resuming.add(task)
        task.add_done_callback(self._resuming.discard)

    # --- partitions come and go (called by the listener) ---------------------------------------

    def begin(self, client: Client, names: set[TopicPartition]) -> None:
        """Takes the partitions that came."""
        if self._pipeline is None or self._client is not client or self._stopping.is_set():
            return
        for name in names:
            self._partitions[name] = self._pipeline.add(name.topic, name.partition)
        log.info("bus.partitions_assigned", group=self._group, partitions=_names(names))

    async def _end(self, names: set[TopicPartition], timeout_s: float) -> None:
        ending = {name: p for name in names if (p := self._partitions.get(name)) is not None}
        if not ending:
            return
        await asyncio.gather(*(partition.drain(timeout_s) for partition in ending.values()))
        for name in ending:
            self._partitions.pop(name, None)
        log.info("bus.partitions_released", group=self._group, partitions=_names(set(ending)))

    async def give_up(self, names: set[TopicPartition]) -> None:
        """Finishes what is in hand before another member gets the partitions."""
        await self._end(names, _REVOKE_DRAIN_S)

    # --- health --------------------------------------------------------------------------------

    async def _watch(self, client: Client) -> None:
        """Measures the lag, and notices a client that stands still although there are records."""
        still: dict[TopicPartition, tuple[int, int]] = {}
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            partitions = set(self._partitions)
            if not partitions:
                self._lag = 0
                continue
            try:
                async with asyncio.timeout(_WATCH_EVERY_S):
                    ends = await client.end_offsets(list(partitions))
                    places = {p: await client.position(p) for p in partitions}
                    done = {p: await self._committed(client, p) for p in partitions}
            except (KafkaError, TimeoutError):
                continue  # an outage, or a rebalance; reading notices by itself
            self._lag = sum(max(0, ends[p] - done[p]) for p in partitions)
            still = self._count_still(still, ends, places)

    async def _committed(self, client: Client, partition: TopicPartition) -> int:
        """The offset of the first record not committed."""
        ours = self._partitions.get(partition)
        if ours is not None and ours.committed:
            return int(ours.committed) + 1
        return await client.committed(partition) or 0

    def _count_still(
        self,
        before: dict[TopicPartition, tuple[int, int]],
        ends: dict[TopicPartition, int],
        places: dict[TopicPartition, int],
    ) -> dict[TopicPartition, tuple[int, int]]:
        """For each partition that waits in spite of records: where, and for how many checks."""
        still: dict[TopicPartition, tuple[int, int]] = {}
        for partition, place in places.items():
            ours = self._partitions.get(partition)
            if ours is None or not ours.hungry() or ends[partition] <= place:
                continue
            where, checks = before.get(partition, (place, 0))
            still[partition] = (place, checks + 1 if where == place else 1)
            if still[partition][1] >= _STUCK_CHECKS:
                raise _Stuck(f"{_names({partition})} at {place}, the end is {ends[partition]}")
        return still

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()


class _Listener(ConsumerRebalanceListener):
    """aiokafka calls it inside its rebalance, which waits for it."""

    def __init__(self, consumer: KafkaConsumer, client: Client) -> None:
        self._consumer = consumer
        self._client = client

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._consumer.give_up(set(revoked))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._consumer.begin(self._client, set(assigned))


async def _commit(client: Client, positions: Mapping[Partition, str]) -> Collection[Partition]:
    assigned = client.assignment()
    ours = {p: TopicPartition(p.topic, p.number) for p in positions}
    lost = {partition for partition, name in ours.items() if name not in assigned}
    offsets = {ours[p]: int(position) + 1 for p, position in positions.items() if p not in lost}
    if offsets:
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await client.commit(offsets)
        except CommitFailedError:
            return set(ours)  # the group goes on without us
    return lost


def _names(partitions: set[TopicPartition]) -> list[str]:
    return sorted(f"{partition.topic}/{partition.partition}" for partition in partitions)
