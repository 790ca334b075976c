"""Follows which instances a service has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import structlog

from im_common.discovery.etcd import Compacted, EtcdClient, EtcdError
from im_common.runtime.backoff import Backoff
from im_common.runtime.faults import report
from im_common.runtime.tasks import background, end

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
EMPTY_GRACE_S = 15.0


class EndpointWatcher:
    """The addresses below `{key}/`, kept up to date by a task of its own.

    While etcd is away the last known addresses stand. And they stand for ``empty_grace_s`` when etcd
    knows none any more: after it lost its data or stood still for longer than the leases, the
    services need some seconds to come back, and most probably they still answer.
    """

    def __init__(
        self,
        client: EtcdClient,
        key: str,
        *,
        on_change: Callable[[frozenset[str]], None] | None = None,
        empty_grace_s: float = EMPTY_GRACE_S,
    ) -> None:
        """``on_change`` is called in the loop with each new set; it must not block."""
        self.on_change = on_change
        self._client = client
        self._key = key
        self._prefix = f"{key}/"
        self._empty_grace_s = empty_grace_s
        self._entries: dict[str, str] = {}
        self._endpoints: frozenset[str] = frozenset()
        self._emptying: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def endpoints(self) -> frozenset[str]:
        """The instances as `host:port`."""
        return self._endpoints

    async def start(self) -> None:
        """Begins to follow; it does not wait for etcd."""
        self._task = background(self._run(), "discovery")

    async def stop(self) -> None:
        self._keep()
        if self._task is not None:
            await end(self._task)

    async def _run(self) -> None:
        pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                await self._follow(pauses)
                continue
            except Compacted as error:
                log.info("the watch starts anew", key=self._key, reason=str(error))
            except EtcdError as error:
                self._keep()
                log.warning(
                    "etcd is away, the known instances stand", key=self._key, error=str(error)
                )
            except Exception as error:
                # Without this task the instances would stand still for ever.
                report(error, "following the instances failed", key=self._key)
            await asyncio.sleep(pauses.next_s())

    async def _follow(self, pauses: Backoff) -> None:
        """Reads the whole, then its changes. Returns after a while without any, to compare again."""
        self._entries, revision = await self._client.range(self._prefix)
        self._publish()
        async with aclosing(self._client.watch(self._prefix, revision + 1)) as changes:
            async for changed in changes:
                pauses.reset()
                for key, address in changed.items():
                    if address is None:
                        self._entries.pop(key, None)
                    else:
                        self._entries[key] = address
                self._publish()

    def _publish(self) -> None:
        endpoints = frozenset(a for a in self._entries.values() if _is_address(a))
        if endpoints:
            self._keep()
            self._set(endpoints)
        elif self._endpoints and self._emptying is None:
            loop = asyncio.get_running_loop()
            self._emptying = loop.call_later(self._empty_grace_s, self._set, endpoints)

    def _keep(self) -> None:
        if self._emptying is not None:
            self._emptying.cancel()
            self._emptying = None

    def _set(self, endpoints: frozenset[str]) -> None:
        self._emptying = None
        if endpoints == self._endpoints:
            return
        self._endpoints = endpoints
        if self.on_change is not None:
            self.on_change(endpoints)


def _is_address(value: str) -> bool:
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdigit() and not set(value) & {",", "/", " "}
