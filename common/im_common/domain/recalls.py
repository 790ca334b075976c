"""Recalls for devices that were away: a recall changes a message that a device may have already, so
neither `seq` nor `sync` tells it, and the offline list is for users with no device online at all.

`recalls:USER` is a sorted set of `recalled` frames by the time of the recall, the newest 1,000 of 30
days; `{recalls:USER}:heard:DEVICE`, in the same slot, is when a device was last heard of (both Unix
milliseconds).
When Redis is down the callers wait and try again. What is lost with Redis the history still shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

import msgspec
from redis.asyncio import Redis

from im_common.domain.ids import now_ms
from im_common.runtime.gathering import Gathered
from im_common.runtime.redis_scripts import Arguments, Call, Script

# As many as a user's offline list has frames: none of its messages outlives its recall.
MOST_RECALLS = 1000
KEEP_S = 30 * 24 * 3600


_ADD = """
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
_MISSED = """
local missed = {}
for i = 1, #KEYS, 2 do
  if redis.call('SET', KEYS[i], ARGV[1], 'EX', ARGV[2], 'NX') then
    missed[#missed + 1] = {}
  else
    local heard_at = redis.call('GET', KEYS[i])
    missed[#missed + 1] = redis.call('ZRANGEBYSCORE', KEYS[i + 1], heard_at, '+inf')
  end
end
return missed
"""


class RecallLog:
    """Keeps recalls for all devices of a user, and says which ones a device has missed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = Script(redis, _ADD)
        self._missed = Script(redis, _MISSED)
        self._missed_one = Gathered(self.missed_by)
        self._heard_one = Gathered(self._heard_all)

    async def add(self, frames: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """Adds frames to the recalls of users, by one round trip. Safe to repeat."""
        bounds: Arguments = [now_ms(), MOST_RECALLS, KEEP_S]
        calls: list[Call] = [([_recalls(user_id)], [*bounds, *items]) for user_id, items in frames]
        await self._add.each(calls, safely=True)

    async def missed(self, user_id: int, device_id: str) -> list[bytes]:
        """The recalls since the device was last heard of, oldest first. One that was never heard of
        has nothing that could be taken back, and is heard of now."""
        return await self._missed_one((user_id, device_id))

    async def missed_by(self, devices: Sequence[tuple[int, str]]) -> list[list[bytes]]:
        """The same of many users' devices, by one command."""
        args = [now_ms(), KEEP_S]

        def call(some: Sequence[tuple[int, str]]) -> Call:
            keys = ((_heard(*device), _recalls(device[0])) for device in some)
            return [key for both in keys for key in both], args

        return await self._missed.over(devices, call)

    async def emptied(self, user_id: int, frames: Sequence[bytes]) -> list[bytes]:
        """Frames of a user's offline list as they may go out now."""
        if not any(_read(frame).type == "message" for frame in frames):
            return list(frames)
        recalls: list[Any] = await self._redis.zrange(_recalls(user_id), 0, -1)
        return emptied(frames, recalls)

    async def heard(self, user_id: int, device_id: str, at_ms: int) -> None:
        """The device had read until then what it was sent."""
        await self._heard_one((_heard(user_id, device_id), at_ms))

    async def _heard_all(self, heard: Sequence[tuple[str, int]]) -> list[None]:
        pipeline = self._redis.pipeline(transaction=False)
        for key, at_ms in heard:
            pipeline.set(key, at_ms, ex=KEEP_S)
        await pipeline.execute()
        return [None] * len(heard)


class _Frame(msgspec.Struct):
    """What of a frame says which message it is about."""

    type: str = ""
    message_id: str = ""


_frames = msgspec.json.Decoder(_Frame)


def emptied(frames: Sequence[bytes], recalls: Iterable[bytes]) -> list[bytes]:
    """Messages that were taken back, by one of the recalls or of the frames themselves, are empty, as
    the history shows them."""
    gone = {one.message_id for one in map(_read, [*recalls, *frames]) if one.type == "recalled"}
    return [_empty(frame) if _is_one_of(frame, gone) else frame for frame in frames]


def _read(frame: bytes) -> _Frame:
    try:
        return _frames.decode(frame)
    except msgspec.DecodeError:
        return _Frame()


def _is_one_of(frame: bytes, message_ids: Set[str]) -> bool:
    one = _read(frame)
    return one.type == "message" and one.message_id in message_ids


def _empty(frame: bytes) -> bytes:
    message = msgspec.json.decode(frame)
    for name in ("mentions", "ext"):
        message.pop(name, None)
    return msgspec.json.encode(message | {"content": "", "recalled": True})


def _recalls(user_id: int) -> str:
    return f"recalls:{user_id}"


def _heard(user_id: int, device_id: str) -> str:
    return f"{{{_recalls(user_id)}}}:heard:{device_id}"
