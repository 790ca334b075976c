"""One life of a Kafka client as a member of a consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from im_common.bus.interface import BusUnavailable, Handler
from im_common.bus.kafka.client import Client, discard_consumer
from im_common.bus.kafka.records import read_record
from im_common.bus.kafka.standstill import Standstill
from im_common.bus.pipeline import Partition, Pipeline
from im_common.runtime.backoff import describe

log = structlog.get_logger(__name__)

_JOIN_TIMEOUT_S = 30.0
# Longer than aiokafka repeats one request: what it shields from a cancellation it forgets to await.
_COMMIT_TIMEOUT_S = 30.0
_PING_TIMEOUT_S = 3.0
_WATCH_EVERY_S = 5.0
_STUCK_CHECKS = 4
# Shorter than the group waits for its members to give up their partitions and come again.
_REVOKE_DRAIN_S = 3.5
_STOP_DRAIN_S = 5.0


class Membership:
    """It joins, is given partitions, passes on what is in them and gives them back, until it breaks or
    is no longer wanted; then it is closed, and who wants to go on makes another."""

    def __init__(
        self,
        client: Client,
        handler: Handler,
        *,
        group: str,
        topics: Sequence[str],
        max_batch: int,
    ) -> None:
        self._client = client
        self._group = group
        self._topics = topics
        self._pipeline = Pipeline(handler, self._commit, max_batch=max_batch)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._resuming: set[asyncio.Task[None]] = set()
        self._leaving = False
        # Whether it takes part, be it without a partition.
        self.joined = False
        # Records not yet committed, as of the last look.
        self.lag = 0

    async def take_part(self, *, until: asyncio.Event) -> None:
        """Returns after ``until`` is set, when what was in hand is committed; raises when the client is
        of no more use."""
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch())
        waiting = asyncio.create_task(until.wait())
        tasks: set[asyncio.Task[Any]] = {reading, watching, waiting}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._leaving = True
            if not until.is_set():
                for task in (reading, watching):
                    if task.done():
                        task.result()
            reading.cancel()
            await self._end(set(self._partitions), _STOP_DRAIN_S)
        finally:
            self._leaving = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Bounded, whatever its state; what is in hand is not committed."""
        for task in self._resuming:
            task.cancel()
        await asyncio.gather(*self._resuming, return_exceptions=True)
        await self._pipeline.close()
        self._partitions.clear()
        await discard_consumer(self._client)

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._client.topics()
        except (KafkaError, TimeoutError) as error:
            raise BusUnavailable(f"no answer from Kafka: {describe(error)}") from error

    # --- records -------------------------------------------------------------------------------

    async def _read(self) -> None:
        async with asyncio.timeout(_JOIN_TIMEOUT_S):
            self._client.subscribe(topics=self._topics, listener=_Listener(self))
            await self._client.start()
        self.joined = True
        log.info("bus.consumer_joined", group=self._group, topics=self._topics)
        while True:
            for name, messages in (await self._client.getmany(timeout_ms=1_000)).items():
                # One that is not ours was revoked: whoever gets it next reads it again.
                partition = self._partitions.get(name)
                if partition is not None:
                    partition.feed([read_record(message) for message in messages])
                    if partition.full():
                        self._pause(name, partition)

    def _pause(self, name: TopicPartition, partition: Partition) -> None:
        async def resume() -> None:
            await partition.room()
            if self._partitions.get(name) is partition:
                with suppress(IllegalStateError):
                    self._client.resume(name)

        with suppress(IllegalStateError):
            self._client.pause(name)
        task = asyncio.create_task(resume())
        self._resuming.add(task)
        task.add_done_callback(self._resuming.discard)

    async def _commit(self, positions: Mapping[Partition, str]) -> Collection[Partition]:
        assigned = self._client.assignment()
        ours = {p: TopicPartition(p.topic, p.number) for p in positions}
        lost = {partition for partition, name in ours.items() if name not in assigned}
        offsets = {ours[p]: int(position) + 1 for p, position in positions.items() if p not in lost}
        if offsets:
            try:
                async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                    await self._client.commit(offsets)
            except CommitFailedError:
                return set(ours)  # the group goes on without us
        return lost

    # --- partitions come and go (called by the listener) ---------------------------------------

    def begin(self, names: set[TopicPartition]) -> None:
        """Takes the partitions that came."""
        if self._leaving:
            return
        for name in names:
            self._partitions[name] = self._pipeline.add(name.topic, name.partition)
        log.info("bus.partitions_assigned", group=self._group, partitions=_texts(names))

    async def give_up(self, names: set[TopicPartition]) -> None:
        """Finishes what is in hand before another member gets the partitions."""
        await self._end(names, _REVOKE_DRAIN_S)

    async def _end(self, names: set[TopicPartition], timeout_s: float) -> None:
        ending = {name: p for name in names if (p := self._partitions.get(name)) is not None}
        if not ending:
            return
        await asyncio.gather(*(partition.drain(timeout_s) for partition in ending.values()))
        for name in ending:
            self._partitions.pop(name, None)
        log.info("bus.partitions_released", group=self._group, partitions=_texts(set(ending)))

    # --- health --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Measures the lag, and notices a client that stands still although there are records."""
        standstill: Standstill[TopicPartition] = Standstill(_STUCK_CHECKS)
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            partitions = dict(self._partitions)
            if not partitions:
                self.lag = 0
                continue
            try:
                async with asyncio.timeout(_WATCH_EVERY_S):
                    ends = await self._client.end_offsets(list(partitions))
                    places = {name: await self._client.position(name) for name in partitions}
                    done = {name: await self._committed(name) for name in partitions}
            except (KafkaError, TimeoutError):
                continue  # an outage, or a rebalance; reading notices by itself
            self.lag = sum(max(0, ends[name] - done[name]) for name in partitions)
            hungry = {name for name, partition in self._partitions.items() if partition.hungry()}
            standstill.check({p: place for p, place in places.items() if p in hungry}, ends)

    async def _committed(self, name: TopicPartition) -> int:
        """The offset of the first record not committed."""
        ours = self._partitions.get(name)
        if ours is not None and ours.committed:
            return int(ours.committed) + 1
        return await self._client.committed(name) or 0


class _Listener(ConsumerRebalanceListener):
    """aiokafka calls it inside its rebalance, which waits for it."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._membership.give_up(set(revoked))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._membership.begin(set(assigned))


def _texts(names: set[TopicPartition]) -> list[str]:
    return sorted(f"{name.topic}/{name.partition}" for name in names)
