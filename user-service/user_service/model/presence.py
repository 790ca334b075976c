"""Presence in Redis: who is on a gateway now (`route:…`, written by the gateways), and when a user
was last seen (`presence:{user_id}`). Lost with Redis, it is unknown until the user comes again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from im_common.domain.ids import now_ms
from im_common.domain.routes import Route, route_key

# A user who stays away longer was never seen.
KEPT_MS = 90 * 86_400_000


@dataclass(frozen=True, slots=True)
class Presence:
    user_id: int
    # Of the connections that are open; nobody is online without one.
    platforms: list[str]
    # Unix milliseconds; 0 when unknown.
    last_seen: int

    @property
    def online(self) -> bool:
        return bool(self.platforms)


class PresenceTable:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def see(self, devices: Collection[tuple[int, str]]) -> None:
        """Records that these (user, platform) are seen now."""
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, platform in devices:
            key = _key(user_id)
            pipeline.hset(key, mapping={"last_seen": now_ms(), "platform": platform})
            pipeline.pexpire(key, KEPT_MS)
        await pipeline.execute()

    async def get(self, user_ids: Sequence[int]) -> list[Presence]:
        """One for each id, in order, by one round trip."""
        if not user_ids:
            return []
        now = now_ms()
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipeline.zrangebyscore(route_key(user_id), now, "+inf")
            pipeline.hget(_key(user_id), "last_seen")
        found = await pipeline.execute()
        return [
            _presence(user_id, members, now if members else int(last_seen or 0))
            for user_id, members, last_seen in zip(user_ids, found[::2], found[1::2], strict=True)
        ]


def _presence(user_id: int, members: Sequence[bytes], last_seen: int) -> Presence:
    platforms = sorted({Route.decode(member).platform for member in members})
    return Presence(user_id, platforms, last_seen)


def _key(user_id: int) -> str:
    return f"presence:{user_id}"
