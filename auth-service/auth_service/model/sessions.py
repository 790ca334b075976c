"""Sessions in Redis: the hash `session:{session_id}` is the session, its life that of its refresh
token; `sessions:{user_id}` lists a user's, scored by the order of their logins.

No script touches two keys: they may be on different nodes. The hash is made before the entry in the
list, so an entry without a hash is always over; a hash without an entry (the process died between)
is a session whose tokens nobody has got. Redis being down is the caller's UNAVAILABLE.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis

from im_common.domain.access_tokens import session_key
from im_common.domain.ids import now_ms

SEEN_EVERY_MS = 60_000
# The list of sessions outlives each of them.
_LIST_SLACK_MS = 86_400_000

_ADD_TO_LIST = """
local now = redis.call('TIME')
local order = now[1] * 1000 + math.floor(now[2] / 1000)
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if newest and tonumber(newest) >= order then order = tonumber(newest) + 1 end
redis.call('ZADD', KEYS[1], order, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# A token of this session that is not the current one was used before.
_ROTATE = """
local current = redis.call('HGET', KEYS[1], 'refresh_hash')
if not current then return 'over' end
if current ~= ARGV[1] then
  if ARGV[3] ~= '1' then return 'unknown' end
  redis.call('DEL', KEYS[1])
  return 'reused'
end
redis.call('HSET', KEYS[1], 'refresh_hash', ARGV[2], 'last_seen_at', ARGV[5])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'address', ARGV[6]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'rotated'
"""

# HSET alone would bring a session back to life that has just ended.
_SEE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[1])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'address', ARGV[2]) end
"""

_END = """
if redis.call('HGET', KEYS[1], 'user_id') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Session:
    session_id: str
    user_id: int
    device_id: str
    platform: str
    address: str
    # Unix milliseconds.
    created_at: int
    last_seen_at: int


class Rotation(StrEnum):
    """What became of a refresh token."""

    ROTATED = "rotated"
    # The session had ended.
    OVER = "over"
    # It had been used before; the session has ended now.
    REUSED = "reused"
    # It never was one of this session.
    UNKNOWN = "unknown"


class Sessions:
    def __init__(self, redis: Redis, *, life_ms: int) -> None:
        """``life_ms``: how long a session lasts without a refresh."""
        self._redis = redis
        self._life_ms = life_ms
        self._list_ms = life_ms + _LIST_SLACK_MS
        self._add_to_list = redis.register_script(_ADD_TO_LIST)
        self._rotate = redis.register_script(_ROTATE)
        self._see = redis.register_script(_SEE)
        self._end = redis.register_script(_END)

    async def add(self, session: Session, refresh_hash: str) -> None:
        key = session_key(session.session_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(key, mapping=_to_hash(session) | {"refresh_hash": refresh_hash})
        pipeline.pexpire(key, self._life_ms)
        await pipeline.execute()
        await self._add_to_list(
            keys=[_list_key(session.user_id)], args=[session.session_id, self._list_ms]
        )

    async def get(self, session_id: str) -> Session | None:
        fields: dict[Any, Any] = await self._redis.hgetall(session_key(session_id))
        return _from_hash(session_id, fields) if fields else None

    async def of_user(self, user_id: int) -> list[Session]:
        """Newest login first. Forgets the entries whose session is over."""
        members: list[Any] = await self._redis.zrevrange(_list_key(user_id), 0, -1)
        ids = [member.decode() for member in members]
        pipeline = self._redis.pipeline(transaction=False)
        for session_id in ids:
            pipeline.hgetall(session_key(session_id))
        found = dict(zip(ids, await pipeline.execute() if ids else [], strict=True))
        over = [session_id for session_id, fields in found.items() if not fields]
        if over:
            await self._redis.zrem(_list_key(user_id), *over)
        return [_from_hash(session_id, fields) for session_id, fields in found.items() if fields]

    async def rotate(
        self, session: Session, *, used_hash: str, new_hash: str, genuine: bool, address: str
    ) -> Rotation:
        """Exchanges the refresh token and begins the session's life anew.

        ``genuine`` says that the used token was made by us for this session.
        """
        # First the list: it must never end before a session in it.
        await self._redis.pexpire(_list_key(session.user_id), self._list_ms)
        outcome = await self._rotate(
            keys=[session_key(session.session_id)],
            args=[used_hash, new_hash, int(genuine), self._life_ms, now_ms(), address],
        )
        return Rotation(outcome.decode())

    async def see(self, session_id: str, address: str) -> None:
        """Records that the session is in use, from ``address`` (when known)."""
        await self._see(keys=[session_key(session_id)], args=[now_ms(), address])

    async def end(self, user_id: int, session_ids: Iterable[str]) -> int:
        """Ends those of the sessions that are the user's. How many were."""
        ended = 0
        for session_id in session_ids:
            ended += await self._end(keys=[session_key(session_id)], args=[user_id])
            await self._redis.zrem(_list_key(user_id), session_id)
        return ended

    async def end_all(self, user_id: int, *, but: Sequence[str] = ()) -> int:
        """How many there were. Those that open meanwhile may stay."""
        members: list[Any] = await self._redis.zrange(_list_key(user_id), 0, -1)
        return await self.end(user_id, {member.decode() for member in members} - set(but))


def _list_key(user_id: int) -> str:
    return f"sessions:{user_id}"


def _to_hash(session: Session) -> dict[Any, Any]:
    return {
        "user_id": session.user_id,
        "device_id": session.device_id,
        "platform": session.platform,
        "address": session.address,
        "created_at": session.created_at,
        "last_seen_at": session.last_seen_at,
    }


def _from_hash(session_id: str, fields: dict[Any, Any]) -> Session:
    return Session(
        session_id=session_id,
        user_id=int(fields[b"user_id"]),
        device_id=fields[b"device_id"].decode(),
        platform=fields[b"platform"].decode(),
        address=fields[b"address"].decode(),
        created_at=int(fields[b"created_at"]),
        last_seen_at=int(fields[b"last_seen_at"]),
    )
