"""Which sessions are about to end: the Redis stream `sessions:ended`.

Whoever ends a session says so first, and then ends it. So a gateway that reads the stream, and asks for
a moment whether these sessions are still there, misses none, whatever dies in between; and need not ask
for the others. The newest 10,000 are kept. When Redis is down the caller has its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from im_common.domain.ids import now_ms
from im_common.runtime.redis_scripts import Call, Script

MOST_KEPT = 10_000
# An entry's id is the time (Unix ms) at the server.
_CLOCKS_DIFFER_MS = 60_000
_STREAM = "sessions:ended"
_TELL = """
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'user_id', ARGV[2], 'session_id', ARGV[3])
"""


class Ended(NamedTuple):
    """A session that is about to end, or has."""

    user_id: int
    session_id: str


class EndedSessions:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tell = Script(redis, _TELL)
        # Of the last entry that ``read`` gave; at first, of a while ago by whichever clock.
        self._last = f"{now_ms() - _CLOCKS_DIFFER_MS}-0"

    async def tell(self, ended: Sequence[Ended]) -> None:
        """To be called before these are ended. One round trip."""
        calls: list[Call] = [([_STREAM], [MOST_KEPT, one.user_id, one.session_id]) for one in ended]
        await self._tell.each(calls, safely=True)

    async def read(self) -> list[Ended]:
        """Those that were told since the last call, or since this was made; at first some more."""
        entries: Any = await self._redis.xrange(_STREAM, min=f"({self._last}")
        if entries:
            self._last = entries[-1][0].decode()
        return [
            Ended(int(fields[b"user_id"]), fields[b"session_id"].decode()) for _, fields in entries
        ]
