"""Token buckets in Redis, that all instances share: `rate:…`.

Each bucket is one key of its own (a slot of Redis Cluster), and all that a request asks go out in one
round trip. Redis being away raises what redis-py raises; what that means is the caller's to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from im_common.runtime.redis_scripts import Call, Script

# When the bucket will be full is all there is to know of it. Answers what is left, how long until it is
# full, and how long to wait for a token (0 when one was taken); milliseconds by this server's clock.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local every, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = full + every - burst * every - now
if wait > 0.001 then return {0, math.ceil(full - now), math.ceil(wait)} end
full = full + every
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now))
return {math.floor(burst - (full - now) / every + 0.001), math.ceil(full - now), 0}
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """``per_second`` for long, ``burst`` at once."""

    per_second: float
    burst: int

    @property
    def window_s(self) -> int:
        """For so long an empty bucket fills."""
        return max(1, math.ceil(self.burst / self.per_second))


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one token."""

    left: int
    full_in_ms: int
    # 0 when there was one.
    wait_ms: int


class SharedBuckets:
    def __init__(self, redis: Redis) -> None:
        self._take = Script(redis, _TAKE)

    async def take(self, buckets: Sequence[tuple[str, Allowance]]) -> list[Taken]:
        """A token of each bucket (its name, what it allows), by one round trip. Where one is empty the
        others may have given theirs."""
        calls: list[Call] = [
            ([f"rate:{name}"], [1000 / allowed.per_second, allowed.burst])
            for name, allowed in buckets
        ]
        answers = await self._take.each(calls)
        return [Taken(*(int(number) for number in answer)) for answer in answers]
