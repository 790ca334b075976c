"""Recalls for devices that were away: a recall changes a message that a device may have already, so
neither `seq` nor `sync` tells it, and the offline list is for users with no device online at all.

`recalls:{user_id}` is a sorted set of `recalled` frames by the time of the recall, the newest 200 of
30 days; `heard:{user_id}:{device_id}` is when a device was last heard of (both Unix milliseconds).
When Redis is down the callers wait and try again. What is lost with Redis the history still shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from redis.asyncio import Redis

from im_common.domain.ids import now_ms

MOST_RECALLS = 200
KEEP_S = 30 * 24 * 3600


class RecallLog:
    """Keeps recalls for all devices of a user, and says which ones a device has missed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, frames: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """Adds frames to the recalls of users, by one pipeline. Safe to repeat."""
        at = now_ms()
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, items in frames:
            key = _recalls(user_id)
            pipeline.zadd(key, dict.fromkeys(items, at))
            pipeline.zremrangebyrank(key, 0, -MOST_RECALLS - 1)
            pipeline.expire(key, KEEP_S)
        await pipeline.execute()

    async def missed(self, user_id: int, device_id: str) -> list[bytes]:
        """The recalls since the device was last heard of, oldest first. One that was never heard of
        has nothing that could be taken back, and is heard of now."""
        key = _heard(user_id, device_id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(key, now_ms(), ex=KEEP_S, nx=True)
        pipeline.get(key)
        pipeline.zrange(_recalls(user_id), 0, -1, withscores=True)
        is_new, heard_at, recalls = await pipeline.execute()
        if is_new or heard_at is None:
            return []
        return [frame for frame, at in recalls if at >= int(heard_at)]

    async def heard(self, user_id: int, device_id: str, at_ms: int) -> None:
        """The device had read until then what it was sent."""
        await self._redis.set(_heard(user_id, device_id), at_ms, ex=KEEP_S)


def _recalls(user_id: int) -> str:
    return f"recalls:{user_id}"


def _heard(user_id: int, device_id: str) -> str:
    return f"heard:{user_id}:{device_id}"
