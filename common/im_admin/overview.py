"""The figures of a whole system at one look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from im_admin.operator import Operator
from im_admin.plain import Row
from im_admin.processes import list_processes
from im_admin.waiting import consumer_lag, outbox_backlogs
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC
from im_common.domain.offline import OfflineList
from im_common.errors import AppError, Code
from im_common.runtime.faults import as_unavailable

# Whoever looks within it sees the same.
_FRESH_S = 2.0
# It goes through all keys of Redis.
_OFFLINE_FRESH_S = 60.0
_PART_WITHIN_S = 10.0


class Overview:
    """Asked by many, it asks the system once; a part that is away is None, and the others are there."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._pace = Pace()
        self._now = Kept(self._look, _FRESH_S)
        self._offline = Kept(self._count_offline, _OFFLINE_FRESH_S)

    async def figures(self) -> Row:
        found: Row = await self._now.get()
        return found

    async def _look(self) -> Row:
        parts = {
            "processes": list_processes(self._operator),
            "pace": self._chat_pace(),
            "lag": consumer_lag(self._operator),
            "outbox": outbox_backlogs(self._operator),
            "dead_letters": self._dead_letters(),
            "offline": self._offline.get(),
        }
        found = await asyncio.gather(*map(_or_none, parts.values()))
        return dict(zip(parts, found, strict=True))

    async def _chat_pace(self) -> Row:
        """Of messages and recalls, by what was written to their topic since the last look."""
        bus = self._operator.resources.bus(self._operator.settings.bus)
        return {"per_second": self._pace.of((await bus.volume(CHAT_TOPIC)).written)}

    async def _dead_letters(self) -> int:
        bus = self._operator.resources.bus(self._operator.settings.bus)
        return (await bus.volume(DEAD_LETTER_TOPIC)).records

    async def _count_offline(self) -> Row:
        lists = frames = longest = 0
        async for _, length in OfflineList(self._operator.resources.redis()).all():
            lists, frames, longest = lists + 1, frames + length, max(longest, length)
        return {"lists": lists, "frames": frames, "longest": longest}


class Kept:
    """An answer that is good for a while; who asks meanwhile waits for the same."""

    def __init__(self, ask: Callable[[], Awaitable[Any]], fresh_s: float) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._answer: Any = None

    async def get(self) -> Any:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._answer = await self._ask()
                self._until = time.monotonic() + self._fresh_s
            return self._answer


class Pace:
    """How fast a counter grows between two looks."""

    def __init__(self) -> None:
        self._at = 0.0
        self._count: int | None = None

    def of(self, count: int) -> float | None:
        """A second; None at the first look, and where counting began anew."""
        before, since = self._count, self._at
        self._count, self._at = count, time.monotonic()
        if before is None or count < before:
            return None
        return (count - before) / max(0.001, self._at - since)


async def _or_none(part: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(_PART_WITHIN_S):
            return await part
    except TimeoutError:
        return None
    except Exception as error:
        outage = error if isinstance(error, AppError) else as_unavailable(error)
        if outage is None or outage.code not in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
            raise
        return None
