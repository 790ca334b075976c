"""Which keys there are in Redis, asked for many at once."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from im_common.runtime.chunks import chunks
from im_common.runtime.gathering import Gathered
from im_common.runtime.redis_scripts import Script

# Keys of one command, that Redis is not kept from other clients for long.
_AT_ONCE = 1000
_THERE = """
local there = {}
for i, key in ipairs(KEYS) do
  there[i] = redis.call('EXISTS', key)
end
return there
"""


class KeysThere:
    """Says whether keys exist. When Redis is down the caller has its error."""

    def __init__(self, redis: Redis) -> None:
        self._script = Script(redis, _THERE)
        self._one = Gathered(self._some, most=_AT_ONCE)

    async def one(self, key: str) -> bool:
        """Of one key, asked for together with what others ask."""
        return await self._one(key)

    async def each(self, keys: Sequence[str]) -> list[bool]:
        """Of each key, in their order."""
        there: list[bool] = []
        for some in chunks(keys, _AT_ONCE):
            there += await self._some(some)
        return there

    async def _some(self, keys: Sequence[str]) -> list[bool]:
        return [bool(one) for one in await self._script.over(keys, lambda some: (some, ()))]
