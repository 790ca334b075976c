"""Who at a gateway was not sent something, as it did not answer: `missed:{gateway}`.

A set of user ids, and of conversation ids for the members of groups, written before the consumer goes
on. A gateway that lives all the same ends the connections of these: their devices come back and sync,
and so no connection stays open with something missing. Until it has done so they are in
`missed:{gateway}:taken`: an answer of Redis may be lost. When Redis is down the callers wait.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from redis.asyncio import Redis

# By then the routes of a gateway that stood still are over, and it ends all connections anyway.
KEEP_S = 120


# A user, or a group's conversation for its members.
Missed = int | str


class MissedLog:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, missed: Mapping[str, Collection[Missed]]) -> None:
        """Those by gateway (host:port); one pipeline for all."""
        pipeline = self._redis.pipeline(transaction=False)
        for gateway, ones in missed.items():
            pipeline.sadd(_key(gateway), *ones)
            pipeline.expire(_key(gateway), KEEP_S)
        await pipeline.execute()

    async def take(self, gateway: str) -> list[Missed]:
        """Those of a gateway: again, with those who came since, until ``taken``. Safe to repeat."""
        key, aside = _key(gateway), _aside(gateway)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.sunionstore(aside, [aside, key])
        pipeline.delete(key)
        pipeline.expire(aside, KEEP_S)
        pipeline.smembers(aside)
        found: list[Any] = await pipeline.execute()
        return [int(one) if one.isdigit() else one.decode() for one in found[-1]]

    async def taken(self, gateway: str) -> None:
        """What ``take`` gave last is done with."""
        await self._redis.delete(_aside(gateway))


def _key(gateway: str) -> str:
    return f"missed:{gateway}"


def _aside(gateway: str) -> str:
    return f"missed:{gateway}:taken"
