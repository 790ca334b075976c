"""Which gateways hold a member of which group: `gateways:{conversation_id}` in Redis.

A sorted set for each group with a member for each gateway (host:port of its PushService), scored by the
Unix time (ms) at which it expires. So a message finds its way by as many entries as there are gateways,
however many members the group has. A gateway is in it from its first member on, and is renewed with its
routes as long as it has one; after that it expires. When Redis is down the callers wait, as for routes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from redis.asyncio import Redis

from im_common.domain.ids import now_ms
from im_common.domain.routes import TTL_MS
from im_common.runtime.chunks import chunks
from im_common.runtime.redis_scripts import Arguments, Script

# Groups of one command, that Redis is not kept from other clients for long.
_AT_ONCE = 1000
_PUT = """
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, ARGV[2], ARGV[1])
  redis.call('PEXPIRE', key, ARGV[3])
end
"""
_FIND = """
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = redis.call('ZRANGEBYSCORE', key, ARGV[1], '+inf')
end
return found
"""


class GroupGateways:
    """Reads and writes them, many groups in one command."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._put = Script(redis, _PUT)
        self._find = Script(redis, _FIND)

    async def put(self, gateway: str, conversation_ids: Iterable[str]) -> None:
        """Adds or renews a gateway for the next TTL_MS."""
        args: Arguments = [gateway, now_ms() + TTL_MS, 2 * TTL_MS]
        keys = [_key(one) for one in conversation_ids]
        for some in chunks(keys, _AT_ONCE):
            await self._put.over(some, lambda keys: (keys, args))

    async def find(self, conversation_ids: Collection[str]) -> dict[str, list[str]]:
        """The gateways of each group; groups of which nobody is connected are not in the result."""
        ids, found, now = list(conversation_ids), list[list[bytes]](), now_ms()
        for some in chunks(ids, _AT_ONCE):
            found += await self._find.over(some, lambda ones: (list(map(_key, ones)), [now]))
        return {
            one: [gateway.decode() for gateway in gateways]
            for one, gateways in zip(ids, found, strict=True)
            if gateways
        }


def _key(conversation_id: str) -> str:
    return f"gateways:{conversation_id}"
