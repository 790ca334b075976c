"""What a service needs of the message log: put a record in and know that it is safe; take records
out in batches, in order for each key.

A record may arrive more than once (a retry, a takeover), so what handles it is idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import msgspec

NO_HEADERS: Mapping[str, bytes] = MappingProxyType({})


class Record(msgspec.Struct, frozen=True, gc=False):
    """One consumed record. ``position`` is its place in the partition: a Kafka offset or a stream
    id, as text."""

    topic: str
    partition: int
    position: str
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Lag:
    """What a consumer group has not committed of a partition."""

    partition: int
    records: int


@dataclass(frozen=True, slots=True)
class Volume:
    """What a topic holds, over all its partitions."""

    # There now.
    records: int
    # Ever written, as long as the topic is.
    written: int


class BusUnavailable(Exception):
    """The log cannot take it in time, or cannot be reached. It may have been written all the same:
    trying again is safe, because consumers are idempotent."""


# Told of a record that it is safe in the log, or why that is not certain.
Settled = Callable[[BusUnavailable | None], None]
# How long a record may wait for others, in seconds.
Linger = Callable[[], float]


Committed = Callable[[], Awaitable[None]]
"""What is done when the batch will not come again, its commit being confirmed; repeated as a stage is,
and not done where the process or its hold of a partition ends first."""
Finish = Callable[[], Awaitable[Committed | None]]
Handler = Callable[[Sequence[Record]], Awaitable[Finish | None]]
"""Stage 1 of a batch (say, store it). What it returns is stage 2 (say, deliver it), which runs
while the next batch of its partitions is in stage 1, and never before the stage 2 of the batch
before. The batch is committed soon after both have ended, and at once when stage 2 gives something to
do after that: for what must not be worked on anew after a crash, or not be told before that is so. A
stage that raises is repeated, with growing pauses, until it succeeds or the partition is given up: what
can never succeed the handler must recognise itself."""


async def at_once() -> None:
    """What stage 2 gives when its batch is to be committed at once, and nothing follows."""


class Producer(Protocol):
    async def start(self) -> None:
        """Connects in the background, for ever; waits for it only a moment and never fails."""

    async def enqueue(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, bytes] | None = None,
        *,
        linger_s: float = 0.0,
    ) -> asyncio.Future[None]:
        """Hands a record over; records with one key keep the order of the calls. Waits only while
        the buffer is full.

        ``linger_s`` says how long after the last request to the log the record may wait for others
        to share the next: at a steady trickle, a request for each would cost more than the records.

        The future is done when the record is safe in the log, and fails with BusUnavailable when
        that takes longer than the producer's ``timeout_ms`` from the call.

        Raises:
            BusUnavailable: not connected, or the buffer stays full.
            ValueError: the record is larger than the log takes.
        """
        ...

    def put(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, bytes] | None = None,
        *,
        linger: Linger | None = None,
        settled: Settled,
    ) -> Awaitable[None] | None:
        """``enqueue`` for who hands over very many, without a task or future for each: ``settled`` is
        called, once, where the future would be done, and ``linger`` gives ``linger_s`` when it is asked
        for: only of the one whose turn it is. Gives what is to be awaited at once when the
        buffer is full; that raises BusUnavailable when it stays so. Raises as ``enqueue`` does."""
        ...

    async def send(
        self, topic: str, key: bytes, value: bytes, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """``enqueue``, then waits until the record is safe. Raises as both do."""

    def connected(self) -> bool:
        """Whether the last attempt to reach the log succeeded; no traffic."""
        ...

    async def ping(self) -> None:
        """One round trip. Raises BusUnavailable when it takes longer than some seconds."""

    async def close(self) -> None:
        """Sends what is in the buffer, for some seconds at most; the rest fails."""


class Consumer(Protocol):
    async def run(self, handler: Handler) -> None:
        """Consumes until ``stop``, through any outage of the log. A batch has 1 to ``max_batch``
        records: of one partition when it has many, in parallel with the others; else of all that
        have some, those of each in order."""

    async def stop(self) -> None:
        """Ends ``run``: what is in hand is finished and committed (5 s at most), the partitions
        are released at once for a successor."""

    def ready(self) -> bool:
        """Whether it takes part in the group, be it without a partition; no traffic."""
        ...

    def lag(self) -> int:
        """Records in this consumer's partitions not yet committed, as of a second or so ago."""
        ...

    async def ping(self) -> None:
        """One round trip. Raises BusUnavailable when it takes longer than some seconds."""


class Bus(Protocol):
    """One log, as the settings describe it: all that a process does with a log begins here. Nothing of
    it connects before it is used."""

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        """Makes the topics that are missing, with so many partitions each.

        One that another instance makes at the same moment is fine; one with fewer partitions stays
        as it is (more would move keys), and is logged.

        Raises:
            BusUnavailable: the log is away, or refuses.
        """

    def producer(
        self, client_id: str, *, timeout_ms: int = 8_000, buffer_records: int = 20_000
    ) -> Producer:
        """To be started. A record that is not safe after ``timeout_ms`` fails; a call that would
        make more than ``buffer_records`` wait, waits itself."""
        ...

    def consumer(
        self, client_id: str, *, group: str, topics: Iterable[str], max_batch: int = 500
    ) -> Consumer:
        """A member of ``group``, to be run. ``client_id`` is its name in logs."""
        ...

    async def lag(self, topic: str, group: str) -> list[Lag]:
        """What a group has still to do, whether or not a consumer of it runs; of each partition, none
        for a topic that is not there.

        Raises:
            BusUnavailable: the log is away.
        """
        ...

    async def volume(self, topic: str) -> Volume:
        """How much is in a topic; nothing for one that is not there.

        Raises:
            BusUnavailable: the log is away.
        """
        ...

    def browse(self, topic: str) -> AsyncGenerator[Record, None]:
        """The records that are there now, partition by partition, oldest first, for operators.
        Nothing is committed or taken away, and a topic that is not there is not made.

        Raises:
            BusUnavailable: the log is away.
        """
        ...
