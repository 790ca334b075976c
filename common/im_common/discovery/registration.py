"""Keeps one instance of a service in etcd for as long as it runs."""

from __future__ import annotations

import asyncio
import time

import structlog

from im_common.discovery.etcd import EtcdClient, EtcdError, LeaseGone
from im_common.runtime.backoff import Backoff
from im_common.runtime.faults import report
from im_common.runtime.tasks import background, end

log = structlog.get_logger(__name__)

STOP_S = 1.0
# Nobody finds an instance before it has tried again.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.2


class Registration:
    """The entry `{key}/{lease id}` = ``address``, as go-zero writes it, renewed every third of a TTL.

    When the lease is lost, or etcd was away or has lost its data, the entry is made again without
    anybody's doing. Only etcd itself says that a lease is gone: after an outage the old one is tried
    first.
    """

    def __init__(self, client: EtcdClient, key: str, address: str, ttl_s: int = 10) -> None:
        self._client = client
        self._key = key
        self._address = address
        self._ttl_s = ttl_s
        self._pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._lease: int | None = None
        self._is_put = False
        # time.monotonic() until which etcd keeps the entry, by our reckoning.
        self._kept_until = 0.0
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def registered(self) -> bool:
        """Whether others can find this instance now, as far as is known."""
        return self._is_put and time.monotonic() < self._kept_until

    async def start(self) -> None:
        """Returns when the entry is made, or when a first try failed; trying goes on behind."""
        self._task = background(self._run(), "registration")
        await self._tried.wait()

    async def stop(self) -> None:
        """Takes the entry out of etcd; within a second, or it is left to run out."""
        if self._task is not None:
            await end(self._task)
        lease, self._lease = self._lease, None
        self._is_put = False
        if lease is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._client.revoke(lease)
        except (EtcdError, TimeoutError) as error:
            log.warning("the entry in etcd is left to run out", key=self._key, error=str(error))

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
                self._pauses.reset()
                pause_s = self._ttl_s / 3
            except LeaseGone:
                log.warning("the lease in etcd is gone", key=self._key)
                if self._is_put:
                    # etcd is there and has lost the entry: the pauses had grown while it was away.
                    self._pauses.reset()
                self._forget()
                pause_s = self._pauses.next_s()
            except EtcdError as error:
                pause_s = self._pauses.next_s()
                log.warning("etcd is away", key=self._key, error=str(error))
            except Exception as error:
                # An instance that nobody finds is worse than a log that repeats itself.
                report(error, "registering failed", key=self._key)
                pause_s = self._pauses.next_s()
            self._tried.set()
            await asyncio.sleep(pause_s)

    async def _step(self) -> None:
        asked_at = time.monotonic()
        if self._lease is None:
            self._lease = await self._client.grant(self._ttl_s)
        elif self._is_put:
            await self._client.keep_alive(self._lease, timeout_s=min(3.0, self._ttl_s / 4))
        if not self._is_put:
            await self._client.put(f"{self._key}/{self._lease}", self._address, lease=self._lease)
            self._is_put = True
            log.info("registered", key=self._key, lease=self._lease, address=self._address)
        self._kept_until = asked_at + self._ttl_s

    def _forget(self) -> None:
        self._lease = None
        self._is_put = False
