"""Whose connections here miss something: the consumer says so in a push, or in its log in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from im_common.domain.missed import Missed, MissedLog
from ws_gateway.logic.connection import Connections
from ws_gateway.logic.rosters import Rosters

# A look at the log that is so old may be from before this process stood still.
LATE_S = 2.1


class Missing:
    """Ends these connections, before anything newer is passed on. What is taken out of the log is known
    here only: one look at a time, and one goes on when nobody waits for it any more."""

    def __init__(self, log: MissedLog, connections: Connections, rosters: Rosters) -> None:
        # host:port of this instance's PushService.
        self.address = ""
        self._log = log
        self._connections = connections
        self._rosters = rosters
        self._looked_at = time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        # Has not begun yet.
        self._next: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Ends those who had missed something when it was called. Raises when Redis is away."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._looking))
            self._next.add_done_callback(_seen)
        await asyncio.shield(self._next)

    async def look_if_late(self) -> None:
        """The same if this process stood still: it may have been given up meanwhile."""
        if time.monotonic() - self._looked_at > LATE_S:
            await self.look()

    def end(self, missed: Iterable[Missed]) -> None:
        """These, users or members of groups, were not sent something that they were owed."""
        for one in missed:
            user_ids = self._rosters.members(one) if isinstance(one, str) else (one,)
            for user_id in user_ids:
                for connection in self._connections.of(user_id):
                    connection.passed_over()

    async def forget(self) -> None:
        """What a process before this one missed at this address ended with it."""
        await self._log.take(self.address)
        await self._log.taken(self.address)

    async def _look_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._looking, self._next = self._next, None
        began = time.monotonic()
        if missed := await self._log.take(self.address):
            self.end(missed)
            await self._log.taken(self.address)
        self._looked_at = began


def _seen(look: asyncio.Task[None]) -> None:
    """Who waited for it has its error, if anybody did."""
    if not look.cancelled():
        look.exception()
