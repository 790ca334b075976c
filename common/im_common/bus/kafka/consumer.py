"""Records out of Kafka: a member of a consumer group, again and again until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import structlog

from im_common.bus.interface import BusUnavailable, Handler
from im_common.bus.kafka.client import REQUEST_TIMEOUT_MS, Access, Client, new_consumer
from im_common.bus.kafka.membership import Membership
from im_common.runtime.backoff import Backoff, describe

log = structlog.get_logger(__name__)

# The group waits this long for its members to give up their partitions and come again; what is in
# hand must be finished within it. A JoinGroup request is held by the broker just as long.
_REBALANCE_TIMEOUT_MS = 8_000
# Partitions that are added are seen within it; producers begin to use them later.
_METADATA_MAX_AGE_MS = 5_000


class KafkaConsumer:
    """One member of ``group``. Offsets are committed by hand after the effect.

    ``topics`` are names (a mapping of names to partition counts is as good). After an outage that
    aiokafka does not survive, its client is thrown away and the group joined anew.
    """

    def __init__(
        self,
        *,
        access: Access,
        group: str,
        topics: Iterable[str],
        client_id: str,
        max_batch: int = 500,
        session_timeout_ms: int = 6_000,
    ) -> None:
        self._access = access
        self._group = group
        self._topics = list(topics)
        self._client_id = client_id
        self._max_batch = max_batch
        self._session_timeout_ms = session_timeout_ms
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        # While there is one that is not being closed.
        self._membership: Membership | None = None

    async def run(self, handler: Handler) -> None:
        self._ended.clear()
        backoff = Backoff(0.1, 2.0)
        try:
            while not self._stopping.is_set():
                try:
                    await self._be_a_member(handler, backoff)
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

    async def _be_a_member(self, handler: Handler, backoff: Backoff) -> None:
        membership = self._membership = Membership(
            self._new_client(),
            handler,
            group=self._group,
            topics=self._topics,
            max_batch=self._max_batch,
        )
        try:
            await membership.take_part(until=self._stopping)
        finally:
            self._membership = None
            if membership.joined:
                backoff.reset()
            await membership.close()

    def _new_client(self) -> Client:
        return new_consumer(
            **self._access.arguments(),
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
            metadata_max_age_ms=_METADATA_MAX_AGE_MS,
        )

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()

    async def stop(self) -> None:
        self._stopping.set()
        await self._ended.wait()

    def ready(self) -> bool:
        return self._membership is not None and self._membership.joined

    def lag(self) -> int:
        return self._membership.lag if self._membership is not None else 0

    async def ping(self) -> None:
        if self._membership is None:
            raise BusUnavailable("not connected")
        await self._membership.ping()
