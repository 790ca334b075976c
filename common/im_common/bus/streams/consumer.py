"""Records out of Redis Streams: each partition has one owner at a time, by a lease."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from im_common.bus.interface import BusUnavailable, Handler
from im_common.bus.pipeline import Partition, Pipeline
from im_common.bus.streams import layout
from im_common.bus.streams.layout import counts_key, owner_key, stream_key
from im_common.bus.streams.records import read_entry
from im_common.runtime.backoff import Backoff, describe
from im_common.runtime.redis_lane import Lane

log = structlog.get_logger(__name__)

_LEASE_S = 5.0
_TICK_S = 1.0
_COMMAND_TIMEOUT_S = 2.0
_BLOCK_MS = 2_000
# Each of up to MOST_IN_ENTRY records.
_READ_ENTRIES = 64
_READ_TIMEOUT_S = _BLOCK_MS / 1000 + 2
_STOP_DRAIN_S = 4.0  # shorter than what is left of a lease that is no longer renewed


@dataclass(slots=True, eq=False)
class _Holding:
    """A partition we own until ``until`` (event loop time) unless the lease is renewed."""

    topic: str
    partition: int
    token: str
    until: float
    queue: Partition = field(init=False)
    reader: asyncio.Task[None] = field(init=False)
    length: int = 0
    leaving: asyncio.Task[None] | None = None

    def over(self, now: float) -> bool:
        return self.queue.lost or now >= self.until


class StreamsConsumer:
    """Shares the partitions of its topics evenly with the other consumers alive.

    Every second it says that it is alive, renews its leases, gives up what is more than its share
    and takes what nobody owns. A consumer that dies without a word is replaced when its leases
    have run out: after 5 to 7 s. Commits are fenced by the lease, effects cannot be: for a moment
    two consumers may handle the same records. ``group`` is a name for the log only: a topic has
    one group, since what is committed is gone.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        group: str,
        topics: Iterable[str],
        client_id: str,
        max_batch: int = 500,
    ) -> None:
        self._group = group
        self._topics = list(topics)
        self._name = f"{group}/{client_id}/{uuid4().hex[:8]}"
        self._max_batch = max_batch
        self._redis = layout.own_client(redis, timeout_s=_COMMAND_TIMEOUT_S)
        self._commit_script = self._redis.register_script(layout.COMMIT)
        self._renew_script = self._redis.register_script(layout.RENEW)
        self._release_script = self._redis.register_script(layout.RELEASE)
        self._join_script = self._redis.register_script(layout.JOIN)
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._counts: dict[str, int] = {}
        self._holdings: dict[tuple[str, int], _Holding] = {}
        self._pipeline: Pipeline | None = None
        self._joined = False

    # --- Consumer ----------------------------------------------------------------------------

    async def run(self, handler: Handler) -> None:
        self._pipeline = Pipeline(handler, self._commit, max_batch=self._max_batch)
        self._ended.clear()
        backoff = Backoff(0.1, 1.0)
        try:
            while not self._stopping.is_set():
                pause_s = _TICK_S
                try:
                    await self._tick()
                    backoff.reset()
                    self._joined = True
                except layout.OUTAGE as error:
                    self._joined = False
                    pause_s = backoff.next_s()
                    log.warning("bus.consumer_failed", group=self._group, error=describe(error))
                await self._drop_lost()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._stopping.wait()
            await self._leave()
        finally:
            await self._drop(list(self._holdings.values()))
            await self._pipeline.close()
            self._joined = False
            await self._redis.aclose()
            self._ended.set()

    async def stop(self) -> None:
        self._stopping.set()
        await self._ended.wait()

    def ready(self) -> bool:
        return self._joined

    def lag(self) -> int:
        return sum(holding.length for holding in self._holdings.values())

    async def ping(self) -> None:
        try:
            await self._redis.ping()
        except layout.OUTAGE as error:
            raise BusUnavailable(f"no answer from Redis: {describe(error)}") from error

    # --- sharing the partitions ----------------------------------------------------------------

    async def _tick(self) -> None:
        if not self._counts:
            await self._learn_partitions()
        await asyncio.gather(*(self._renew(holding) for holding in self._holdings.values()))
        for topic, count in self._counts.items():
            share = await self._share(topic, count)
            mine = [h for h in self._holdings.values() if h.topic == topic and not h.leaving]
            for holding in mine[share:]:
                holding.leaving = asyncio.create_task(self._give_up(holding))
            if len(mine) < share:
                await self._take(topic, count, share - len(mine))

    async def _learn_partitions(self) -> None:
        self._counts = {t: await layout.partition_count(self._redis, t) for t in self._topics}

    async def _share(self, topic: str, count: int) -> int:
        """How many partitions are ours: all shares together are just all partitions."""
        members = [
            name.decode()
            for name in await self._join_script(
                keys=[layout.members_key(topic)], args=[self._name, int(_LEASE_S * 1000)]
            )
        ]
        strangers = [name for name in members if not name.startswith(f"{self._group}/")]
        if strangers:
            log.error("bus.second_group", topic=topic, group=self._group, others=strangers)
        rank = sorted(members).index(self._name)
        return count // len(members) + (1 if rank < count % len(members) else 0)

    async def _take(self, topic: str, count: int, wanted: int) -> None:
        """Takes up to ``wanted`` partitions that nobody owns."""
        for partition in range(count):
            if wanted == 0 or self._stopping.is_set():
                return
            if (topic, partition) in self._holdings:
                continue
            token = f"{self._name}/{uuid4().hex}"
            until = asyncio.get_running_loop().time() + _LEASE_S
            if await self._redis.set(
                owner_key(topic, partition), token, nx=True, px=int(_LEASE_S * 1000)
            ):
                self._hold(_Holding(topic, partition, token, until))
                wanted -= 1

    def _hold(self, holding: _Holding) -> None:
        assert self._pipeline is not None
        holding.queue = self._pipeline.add(holding.topic, holding.partition)
        holding.reader = asyncio.create_task(self._read(holding))
        self._holdings[holding.topic, holding.partition] = holding
        log.info("bus.partition_taken", topic=holding.topic, partition=holding.partition)

    async def _renew(self, holding: _Holding) -> None:
        # From before the call: the lease may have been renewed any time after it.
        until = asyncio.get_running_loop().time() + _LEASE_S
        length = await self._renew_script(
            keys=_keys(holding), args=[holding.token, int(_LEASE_S * 1000)]
        )
        if length < 0:
            holding.queue.lose()
        else:
            holding.until, holding.length = until, length

    async def _give_up(self, holding: _Holding) -> None:
        """Finishes what is in hand; the lease is renewed meanwhile, and released at the end."""
        holding.reader.cancel()
        await holding.queue.drain(_STOP_DRAIN_S)
        with suppress(*layout.OUTAGE):
            await self._release_script(
                keys=[owner_key(holding.topic, holding.partition)], args=[holding.token]
            )
        self._forget(holding)
        log.info("bus.partition_released", topic=holding.topic, partition=holding.partition)

    async def _leave(self) -> None:
        leaving = [h.leaving or self._give_up(h) for h in self._holdings.values()]
        await asyncio.gather(self._resign(), *leaving)

    async def _resign(self) -> None:
        """Leaves the members, so that the others may take more than until now."""
        with suppress(*layout.OUTAGE):
            for topic in self._topics:
                await self._redis.zrem(layout.members_key(topic), self._name)

    async def _drop_lost(self) -> None:
        now = asyncio.get_running_loop().time()
        lost = [holding for holding in self._holdings.values() if holding.over(now)]
        for holding in lost:
            log.warning("bus.lease_lost", topic=holding.topic, partition=holding.partition)
        await self._drop(lost)

    async def _drop(self, holdings: Sequence[_Holding]) -> None:
        """Ends at once and commits nothing. The lease, if it is still ours, runs out."""
        for holding in holdings:
            tasks = [holding.reader, *([holding.leaving] if holding.leaving else [])]
            for task in tasks:
                task.cancel()
            await holding.queue.abort()
            await asyncio.wait(tasks, timeout=1)
            self._forget(holding)

    def _forget(self, holding: _Holding) -> None:
        if self._holdings.get((holding.topic, holding.partition)) is holding:
            del self._holdings[holding.topic, holding.partition]

    # --- one partition -------------------------------------------------------------------------

    async def _read(self, holding: _Holding) -> None:
        """Has a connection of its own, as it waits in Redis."""
        lane = self._redis.lane_of_its_own(_READ_TIMEOUT_S)
        try:
            await self._read_by(lane, holding)
        finally:
            await lane.close()

    async def _read_by(self, lane: Lane, holding: _Holding) -> None:
        key = stream_key(holding.topic, holding.partition)
        last: bytes | str = "0-0"  # what is still in the stream was not committed
        backoff = Backoff(0.1, 2.0)
        # Also when its cancellation was lost on the way: it would hold a connection for ever.
        while not holding.queue.ended():
            await holding.queue.room()
            command = (
                "XREAD",
                "COUNT",
                _READ_ENTRIES,
                "BLOCK",
                _BLOCK_MS,
                "STREAMS",
                key,
                last,
            )
            try:
                (answer,) = await lane.ask([command])
                if isinstance(answer, ResponseError):
                    raise answer
            except layout.OUTAGE as error:
                pause_s = backoff.next_s()
                log.warning("bus.read_failed", stream=key, error=describe(error))
                await asyncio.sleep(pause_s)
                continue
            backoff.reset()
            if answer:
                entries = answer[0][1]
                holding.queue.feed(
                    [
                        record
                        for entry in entries
                        for record in read_entry(holding.topic, holding.partition, *entry)
                    ]
                )
                last = entries[-1][0]

    async def _commit(self, positions: Mapping[Partition, str]) -> Collection[Partition]:
        kept = await asyncio.gather(*(self._trim(*entry) for entry in positions.items()))
        return {partition for partition, ours in zip(positions, kept, strict=True) if not ours}

    async def _trim(self, partition: Partition, position: str) -> bool:
        """Whether it is still ours; what is committed is gone from the stream."""
        holding = self._holdings.get((partition.topic, partition.number))
        if holding is None or holding.queue is not partition:
            return False
        milliseconds, sequence = position.split("-")
        keep_from = f"{milliseconds}-{int(sequence) + 1}"
        return bool(await self._commit_script(keys=_keys(holding), args=[holding.token, keep_from]))


def _keys(holding: _Holding) -> list[str]:
    return [
        stream_key(holding.topic, holding.partition),
        owner_key(holding.topic, holding.partition),
        counts_key(holding.topic, holding.partition),
    ]
