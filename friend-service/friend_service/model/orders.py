"""Orders of lists of friends in Redis: `friends:order:{user_id}:{order}` has the ids, in their order,
and `friends:order:{user_id}` names the newest and the version of the list that it was made of.

When Redis is away the list is sorted anew for each page.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from im_common.runtime.faults import is_outage, report

# For how long names may have changed before a list that begins is sorted anew.
NEWEST_MS = 30_000
# For how long the pages of an order can be asked for.
KEPT_MS = 600_000


class Orders:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def newest(self, user_id: int, version: int) -> str:
        """The id of an order of this version of the list; empty when there is none."""
        try:
            found: Any = await self._redis.get(_key(user_id))
        except Exception as error:
            _fail_open(error)
            return ""
        made_of, _, order_id = (found or b"").decode().partition(":")
        return order_id if made_of == str(version) else ""

    async def slice(
        self, user_id: int, order_id: str, start: int, count: int
    ) -> Sequence[int] | None:
        """At most ``count`` ids from ``start`` on, or None when the order is gone."""
        try:
            key = _key(user_id, order_id)
            found = await self._redis.lrange(key, start, start + count - 1)
            if not found and not await self._redis.exists(key):
                return None
        except Exception as error:
            _fail_open(error)
            return None
        return [int(friend_id) for friend_id in found]

    async def keep(self, user_id: int, version: int, ids: Sequence[int]) -> str:
        """Makes it the newest one; its id."""
        order_id = secrets.token_hex(8)
        if not ids:
            return order_id
        pipeline = self._redis.pipeline(transaction=False)
        key = _key(user_id, order_id)
        pipeline.rpush(key, *ids)
        pipeline.pexpire(key, KEPT_MS)
        pipeline.set(_key(user_id), f"{version}:{order_id}", px=NEWEST_MS)
        try:
            await pipeline.execute()
        except Exception as error:
            _fail_open(error)
        return order_id


def _key(user_id: int, order_id: str = "") -> str:
    return f"friends:order:{user_id}:{order_id}" if order_id else f"friends:order:{user_id}"


def _fail_open(error: Exception) -> None:
    if not is_outage(error):
        report(error, "orders of friends failed")
