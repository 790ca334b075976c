"""Who at a gateway was not sent something, as it did not answer: `missed:GATEWAY`.

A set of user ids, and of conversation ids for the members of groups, written before the consumer goes
on. A gateway that lives all the same ends the connections of these: their devices come back and sync,
and so no connection stays open with something missing. Until it has done so they are in
`{missed:GATEWAY}:taken`, in the same slot: an answer of Redis may be lost. When Redis is down the
callers wait.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from redis.asyncio import Redis

from im_common.runtime.chunks import chunks
from im_common.runtime.redis_scripts import Call, Script

# By then the routes of a gateway that stood still are over, and it ends all connections anyway.
KEEP_S = 120


_ADD = """
redis.call('SADD', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
_TAKE = """
redis.call('SUNIONSTORE', KEYS[2], KEYS[2], KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return redis.call('SMEMBERS', KEYS[2])
"""
# Lua unpacks some 8,000 values at once.
_AT_ONCE = 5000

# A user, or a group's conversation for its members.
Missed = int | str


class MissedLog:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = Script(redis, _ADD)
        self._take = Script(redis, _TAKE)

    async def add(self, missed: Mapping[str, Collection[Missed]]) -> None:
        """Those by gateway (host:port); one round trip for all."""
        calls: list[Call] = [
            ([_key(gateway)], [KEEP_S, *some])
            for gateway, ones in missed.items()
            for some in chunks(list(ones), _AT_ONCE)
        ]
        await self._add.each(calls, safely=True)

    async def take(self, gateway: str) -> list[Missed]:
        """Those of a gateway: again, with those who came since, until ``taken``. Safe to repeat."""
        found: list[bytes] = await self._take([_key(gateway), _aside(gateway)], [KEEP_S])
        return [int(one) if one.isdigit() else one.decode() for one in found]

    async def taken(self, gateway: str) -> None:
        """What ``take`` gave last is done with."""
        await self._redis.delete(_aside(gateway))


def _key(gateway: str) -> str:
    return f"missed:{gateway}"


def _aside(gateway: str) -> str:
    return f"{{{_key(gateway)}}}:taken"
