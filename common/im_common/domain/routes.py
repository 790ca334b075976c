"""Which gateway holds which connection of which user: `route:{user_id}` in Redis.

A sorted set for each user with a member for each connection, scored by the Unix time (ms) at which it
expires. A gateway renews its own; those of a gateway that died expire. When Redis is down nobody can
be found: the callers wait (delivery) or say so (presence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
from redis.asyncio import Redis

from im_common.domain.ids import now_ms
from im_common.runtime.chunks import chunks
from im_common.runtime.gathering import Gathered
from im_common.runtime.redis_scripts import Call, Script

# The users of a gateway that was killed are away when it has passed.
TTL_MS = 14_000
RENEW_EVERY_S = 4.0

# A command for many users: a pipeline of as many costs the client several times that. So many at once,
# that Redis is not kept from other clients for long.
_AT_ONCE = 1000
_PUT = """
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[3])
  redis.call('ZADD', key, ARGV[1], ARGV[i + 3])
  redis.call('PEXPIRE', key, ARGV[2])
end
"""
# The devices that were here before: of two that come at once, just the later one finds the other.
_ENTER = """
local before = {}
for i, key in ipairs(KEYS) do
  before[i] = redis.call('ZRANGEBYSCORE', key, ARGV[3], '+inf')
  redis.call('ZADD', key, ARGV[1], ARGV[i + 3])
  redis.call('PEXPIRE', key, ARGV[2])
end
return before
"""
_FIND = """
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = redis.call('ZRANGEBYSCORE', key, ARGV[1], '+inf')
end
return found
"""


_LAST_UNTIL = """
local last = {}
for i, key in ipairs(KEYS) do
  last[i] = tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or 0)
end
return last
"""


class Route(msgspec.Struct, frozen=True, gc=False):
    """One connection."""

    # host:port of the gateway's PushService.
    gateway: str
    connection_id: int
    platform: str
    device_id: str

    def encode(self) -> bytes:
        # device_id is the client's own text, so it comes last.
        return f"{self.gateway}|{self.connection_id}|{self.platform}|{self.device_id}".encode()

    @classmethod
    def decode(cls, member: bytes) -> Route:
        gateway, connection_id, platform, device_id = member.decode().split("|", 3)
        return cls(gateway, int(connection_id), platform, device_id)


class RouteTable:
    """Reads and writes routes, many at once in one round trip."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._put = Script(redis, _PUT)
        self._enter = Script(redis, _ENTER)
        self._remove_one = Gathered(self._remove_all)
        self._find = Script(redis, _FIND)
        self._last_until = Script(redis, _LAST_UNTIL)

    async def put(self, routes: Iterable[tuple[int, Route]]) -> None:
        """Adds or renews routes of users for the next TTL_MS."""
        now = now_ms()
        for some in chunks(list(routes), _AT_ONCE):
            # What a killed gateway left goes when its clock, too, says that it is over.
            await self._put.over(some, _writing(now, now - TTL_MS))

    async def enter(self, routes: Sequence[tuple[int, Route]]) -> list[list[Route]]:
        """As ``put``, of new connections. Of each the user's live ones before it: of two that enter at
        once, one finds the other."""
        now = now_ms()
        before = await self._enter.over(routes, _writing(now, now))
        return [[Route.decode(member) for member in of_one] for of_one in before]

    async def remove(self, user_id: int, route: Route) -> None:
        """The connection has ended."""
        await self._remove_one((user_id, route))

    async def _remove_all(self, routes: Sequence[tuple[int, Route]]) -> list[None]:
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, route in routes:
            pipeline.zrem(route_key(user_id), route.encode())
        await pipeline.execute()
        return [None] * len(routes)

    async def find(self, user_ids: Sequence[int]) -> dict[int, list[Route]]:
        """The live connections of each user; users without any are not in the result."""
        if not user_ids:
            return {}
        now, found = now_ms(), list[list[bytes]]()
        for some in chunks(user_ids, _AT_ONCE):
            found += await self._find.over(some, lambda ids: (list(map(route_key, ids)), [now]))
        return {
            user_id: [Route.decode(member) for member in members]
            for user_id, members in zip(user_ids, found, strict=True)
            if members
        }

    async def last_until(self, user_ids: Sequence[int]) -> list[int]:
        """Until when (Unix ms) each user has a connection if no gateway renews it; 0 for none."""
        last: list[int] = []
        for some in chunks(user_ids, _AT_ONCE):
            found = await self._last_until.over(some, lambda ids: (list(map(route_key, ids)), ()))
            last += map(int, found)
        return last


def _writing(now: int, over: int) -> Callable[[Sequence[tuple[int, Route]]], Call]:
    """What a script is called with that writes routes, and has to do with those over by ``over``; both
    are Unix ms."""

    def call(routes: Sequence[tuple[int, Route]]) -> Call:
        keys = [route_key(user_id) for user_id, _ in routes]
        members = [route.encode() for _, route in routes]
        return keys, [now + TTL_MS, TTL_MS * 2, over, *members]

    return call


def route_key(user_id: int) -> str:
    """The sorted set of a user's routes."""
    return f"route:{user_id}"
