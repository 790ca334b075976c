"""Relays an outbox to the bus.

Any number of instances may run one; a row of the database says which of them is at work, so that
records with one key are in order. It gives the work up as soon as the outbox is empty, so that whoever
commits next relays at once; one that dies at work is replaced when its row has stood still for LEASE_S,
by the clock of who looks at it. A record leaves the outbox when the bus has confirmed it. So it may go
out twice (a death in between, a process that stood still), and is told by what is in it.

When the bus or the database is away the records wait, and changes go on.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from im_common.bus import BusUnavailable, Producer
from im_common.runtime import context, metrics
from im_common.runtime.backoff import Backoff
from im_common.runtime.faults import report
from im_common.runtime.tasks import background, end
from im_common.sql.outbox import Lease, Outbox, OutboxRow

log = structlog.get_logger(__name__)

LEASE_S = 5.0
RENEW_EVERY_S = 1.0
# What others left behind is found so often.
LOOK_EVERY_S = 1.0
# Another one is at work: it may have looked just before a commit of ours.
_HELD_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_BATCH = 500
_NOBODY = Lease("", -1)
_STOP_WITHIN_S = 3.0


class OutboxRelay:
    def __init__(self, outbox: Outbox, producer: Producer) -> None:
        self._outbox = outbox
        self._producer = producer
        self._owner = secrets.token_hex(8)
        self._woken = asyncio.Event()
        self._is_wanted = False
        self._stopping = False
        self._stopped = asyncio.Event()
        # Who else is at work, and since when (time.monotonic()) it has not gone on.
        self._other = _NOBODY
        self._other_since = 0.0
        self._backoff = Backoff(0.1, _LONGEST_PAUSE_S)
        outbox.on_commit = self._want

    async def run(self) -> None:
        """Relays until ``stop``."""
        looking = background(self._look_for_leftovers(), "outbox-leftovers")
        try:
            while not self._stopping:
                await self._woken.wait()
                self._woken.clear()
                if self._is_wanted:
                    self._is_wanted = False
                    await asyncio.sleep(await self._relay())
        finally:
            # It has a query on its way, perhaps, and the database is closed next.
            await end(looking)
            self._stopped.set()

    async def stop(self) -> None:
        """Ends ``run`` when what is in hand is done, in some seconds at most. Where nothing is to be
        told the database is not asked for anything, as it may be away."""
        self._stopping = True
        self._woken.set()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._stopped.wait()
        except TimeoutError:
            log.warning("the outbox is not empty at the end")

    def _want(self) -> None:
        self._is_wanted = True
        self._woken.set()

    async def _relay(self) -> float:
        """Relays what there is. How long to wait for the next time, in seconds."""
        try:
            if await self._take():
                await self._drain()
                self._backoff.reset()
                return 0.0
            pause_s = _HELD_PAUSE_S
        except Exception as error:
            report(error, "outbox waits")
            pause_s = self._backoff.next_s()
        self._want()
        return pause_s

    async def _look_for_leftovers(self) -> None:
        """Measures, and finds what another instance left behind, for ever."""
        while True:
            try:
                backlog = await self._outbox.backlog()
                metrics.OUTBOX_RECORDS.set(backlog.records)
                oldest_at = time.time() if backlog.oldest_at is None else backlog.oldest_at / 1000
                metrics.OUTBOX_AGE.set(max(0.0, time.time() - oldest_at))
                if backlog.records:
                    self._want()
            except Exception as error:
                report(error, "outbox not seen")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _take(self) -> bool:
        """Whether this is the one that relays now."""
        now = time.monotonic()
        is_gone = now - self._other_since > LEASE_S
        other = await self._outbox.take(self._owner, unless=self._other if is_gone else _NOBODY)
        if other != self._other:
            self._other, self._other_since = other or _NOBODY, now
        return other is None

    async def _drain(self) -> None:
        """Until nothing is left. Raises when the bus does not take it."""
        rows = await self._outbox.oldest(_BATCH)
        while True:
            done = await self._publish(rows)
            metrics.OUTBOX_RELAYED.inc(len(done))
            is_taken = len(done) == len(rows)
            rows = await self._outbox.forget(self._owner, done, _BATCH if is_taken else 0)
            if not is_taken:
                raise BusUnavailable("the bus does not take what is in the outbox")
            if not rows:
                return

    async def _publish(self, rows: Sequence[OutboxRow]) -> list[int]:
        """The ids of those that are safe on the bus, all before the first that is not for each key."""
        sent: dict[int, asyncio.Future[None]] = {}
        with suppress(BusUnavailable):
            for row in rows:
                trace = {context.TRACEPARENT: row.traceparent.encode()} if row.traceparent else None
                sent[row.id] = await self._producer.enqueue(
                    row.topic, row.key.encode(), row.value, trace
                )
        waiting: set[asyncio.Future[None]] = set(sent.values())
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=RENEW_EVERY_S)
            if waiting:
                await self._outbox.renew(self._owner)
        return [row_id for row_id, future in sent.items() if future.exception() is None]
