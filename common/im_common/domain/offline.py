"""Frames for users who are away: the Redis list `offline:msg:{user_id}`.

A frame stays until a device confirms it. The newest 1,000 are kept, for 30 days; what falls out is
still in the history, and `sync` finds it. When Redis is down the caller waits and tries again: a
frame is never counted as delivered. Where there are replicas it is counted as kept when one has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from hashlib import sha256
from typing import Any

from redis.asyncio import Redis

from im_common.runtime import metrics
from im_common.runtime.redis_keys import KeysThere
from im_common.runtime.redis_scripts import Call, Script

MOST_FRAMES = 1000
KEEP_S = 30 * 24 * 3600
BATCH_FRAMES = 100
# Commands of one pipeline.
_AT_ONCE = 1000
# A batch is one WebSocket frame; clients' libraries refuse those beyond 1 MiB by default.
BATCH_BYTES = 768 * 1024

# In pieces: Lua unpacks some 8,000 values at once. How many there were then, of which some fall out.
_APPEND = """
local length
for i = 3, #ARGV, 5000 do
  length = redis.call('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 4999, #ARGV)))
end
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return length
"""
_HEAD = "return {redis.call('LRANGE', KEYS[1], 0, ARGV[1]), redis.call('LLEN', KEYS[1])}"

# Takes away exactly the given frames from the head: what another device confirmed, or what the cap
# dropped in between, is no longer there and must not cost a newer frame its place.
_CONFIRM = """
local taken = 0
for i = 1, #ARGV do
  if redis.call('LINDEX', KEYS[1], 0) == ARGV[i] then
    redis.call('LPOP', KEYS[1])
    taken = taken + 1
  end
end
return taken
"""


class OfflineList:
    """Appends, reads and confirms."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = Script(redis, _APPEND)
        self._head = Script(redis, _HEAD)
        self._confirm = Script(redis, _CONFIRM)
        self._keys = KeysThere(redis)

    async def append(self, frames: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """Adds frames, in order, to the lists of users; one round trip for all. They may have been
        added when it raises."""
        calls: list[Call] = [
            ([_key(user_id)], [MOST_FRAMES, KEEP_S, *items]) for user_id, items in frames
        ]
        for length in await self._append.each(calls, safely=True):
            metrics.OFFLINE_LIST.observe(length)
            metrics.OFFLINE_DROPPED.inc(max(0, length - MOST_FRAMES))

    async def head(self, user_id: int, limit: int = BATCH_FRAMES) -> tuple[list[bytes], int]:
        """The oldest frames, fewer than ``limit`` when they are long, and how many wait after
        them."""
        # Nearly all are empty: that is asked for by one command for many.
        if not await self._keys.one(_key(user_id)):
            return [], 0
        found, length = await self._head([_key(user_id)], [limit - 1])
        frames = _fitting(found)
        return frames, max(0, length - len(frames))

    async def behind(self, user_id: int, batch: Sequence[bytes]) -> list[list[bytes]]:
        """What waits behind the frames of a batch, in batches."""
        rest = await self.oldest(user_id, MOST_FRAMES)
        if rest[: len(batch)] == list(batch):
            rest = rest[len(batch) :]
        else:
            # Another device confirmed some.
            gone = set(batch)
            rest = [frame for frame in rest if frame not in gone]
        batches = []
        while rest:
            batches.append(_fitting(rest[:BATCH_FRAMES]))
            rest = rest[len(batches[-1]) :]
        return batches

    async def length(self, user_id: int) -> int:
        """How many frames there are."""
        return int(await self._redis.llen(_key(user_id)))

    async def all(self) -> AsyncIterator[tuple[int, int]]:
        """Each user who has frames, and how many; for operators: it goes through all keys of Redis."""
        ids: list[int] = []
        async for key in self._redis.scan_iter(match=_key("*"), count=1000):
            ids.append(int(key.rpartition(b":")[2]))
            if len(ids) == _AT_ONCE:
                for found in await self._lengths(ids):
                    yield found
                ids = []
        for found in await self._lengths(ids):
            yield found

    async def _lengths(self, user_ids: Sequence[int]) -> list[tuple[int, int]]:
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipeline.llen(_key(user_id))
        lengths: list[int] = await pipeline.execute() if user_ids else []
        return list(zip(user_ids, lengths, strict=True))

    async def oldest(self, user_id: int, most: int) -> list[bytes]:
        """So many frames, oldest first."""
        frames: Any = await self._redis.lrange(_key(user_id), 0, most - 1)
        return list(frames)

    async def waiting(self, user_ids: Sequence[int]) -> list[int]:
        """Those of the users who have frames, by few commands."""
        there = await self._keys.each([_key(user_id) for user_id in user_ids])
        return [user_id for user_id, has_any in zip(user_ids, there, strict=True) if has_any]

    async def confirm(self, user_id: int, frames: Sequence[bytes]) -> None:
        """Takes frames away that a device has confirmed. Safe to repeat."""
        if frames:
            await self._confirm([_key(user_id)], frames)

    def batch_id(self, frames: Sequence[bytes]) -> str:
        """Says which frames a batch had, to whoever confirms it, at whatever instance."""
        return f"{len(frames)}.{_digest(frames)}"

    async def confirm_batch(self, user_id: int, batch_id: str) -> None:
        """Takes the frames of a batch away if they are still the oldest; else nothing."""
        count, _, digest = batch_id.partition(".")
        if not count.isascii() or not count.isdecimal() or len(count) > len(str(BATCH_FRAMES)):
            return
        if not 1 <= int(count) <= BATCH_FRAMES:
            return
        frames: Any = await self._redis.lrange(_key(user_id), 0, int(count) - 1)
        if _digest(frames) == digest:
            await self.confirm(user_id, frames)


def _fitting(frames: Sequence[bytes]) -> list[bytes]:
    room = BATCH_BYTES
    for index, frame in enumerate(frames):
        room -= len(frame)
        if room < 0 and index:
            return list(frames[:index])
    return list(frames)


def _digest(frames: Sequence[bytes]) -> str:
    hashed = sha256()
    for frame in frames:
        hashed.update(b"%d:" % len(frame))
        hashed.update(frame)
    return hashed.hexdigest()[:32]


def _key(user_id: int | str) -> str:
    return f"offline:msg:{user_id}"
