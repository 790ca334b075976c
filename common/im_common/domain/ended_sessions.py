"""Which sessions are about to end: the Redis stream `sessions:ended`.

Whoever ends a session says so first, and then ends it. So a gateway that reads the stream, and asks for
a moment whether these sessions are still there, misses none, whatever dies in between; and need not ask
for the others. The newest 10,000 are kept. When Redis is down the caller has its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from im_common.domain.access_tokens import session_key
from im_common.domain.ids import now_ms

MOST_KEPT = 10_000
# An entry's id is the time (Unix ms) at the server.
_CLOCKS_DIFFER_MS = 60_000
_STREAM = "sessions:ended"
# Sessions of one command, that Redis is not kept from other clients for long.
_AT_ONCE = 1000
_OVER = """
local over = {}
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 0 then over[#over + 1] = i end
end
return over
"""


class Ended(NamedTuple):
    """A session that is about to end, or has."""

    user_id: int
    session_id: str


class EndedSessions:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._over = redis.register_script(_OVER)
        # Of the last entry that ``read`` gave; at first, of a while ago by whichever clock.
        self._last = f"{now_ms() - _CLOCKS_DIFFER_MS}-0"

    async def tell(self, ended: Sequence[Ended]) -> None:
        """To be called before these are ended. One pipeline."""
        pipeline = self._redis.pipeline(transaction=False)
        for one in ended:
            fields: dict[Any, Any] = {"user_id": one.user_id, "session_id": one.session_id}
            pipeline.xadd(_STREAM, fields, maxlen=MOST_KEPT, approximate=True)
        await pipeline.execute()

    async def read(self) -> list[Ended]:
        """Those that were told since the last call, or since this was made; at first some more."""
        entries: Any = await self._redis.xrange(_STREAM, min=f"({self._last}")
        if entries:
            self._last = entries[-1][0].decode()
        return [
            Ended(int(fields[b"user_id"]), fields[b"session_id"].decode()) for _, fields in entries
        ]

    async def over(self, session_ids: Sequence[str]) -> set[str]:
        """Those of the sessions that are no more."""
        over: set[str] = set()
        for start in range(0, len(session_ids), _AT_ONCE):
            some = session_ids[start : start + _AT_ONCE]
            places: Any = await self._over(keys=[session_key(one) for one in some])
            over.update(some[place - 1] for place in places)
        return over
