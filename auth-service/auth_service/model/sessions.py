"""Sessions in Redis: the hash `session:{session_id}` is the session, its life that of its refresh
token; `sessions:{user_id}` lists a user's, scored by the order of their logins.

No script touches two keys: they may be on different nodes. The hash is made before the entry in the
list, so an entry without a hash is always over; a hash without an entry (the process died between)
is a session whose tokens nobody has got. Where there are replicas, one has what was begun, renewed or
ended before anybody is told: no failover brings a session back. Redis being down is the caller's
UNAVAILABLE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis

from im_common.domain.access_tokens import session_key, unused_field
from im_common.domain.ended_sessions import Ended, EndedSessions
from im_common.domain.ids import now_ms
from im_common.runtime.redis_scripts import Call, Script

SEEN_EVERY_MS = 60_000
# For so long a refresh token may come again, as long as nothing of the new pair was used.
REPEAT_MS = 30_000
# The list of sessions outlives each of them.
_LIST_SLACK_MS = 86_400_000

_ADD = """
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
_ADD_TO_LIST = """
local now = redis.call('TIME')
local order = now[1] * 1000 + math.floor(now[2] / 1000)
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if newest and tonumber(newest) >= order then order = tonumber(newest) + 1 end
redis.call('ZADD', KEYS[1], order, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# A token of this session that is not the current one was used before. Until the field `unused:…` of the
# pair that came of it is gone, and for REPEAT_MS, it may come again. One clock decides: this server's.
_ROTATE = """
local used_hash, new_hash, is_genuine, is_same_device = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local pair_id, made_at, kid = ARGV[5], ARGV[6], ARGV[7]
local life_ms, repeat_ms, address, unused = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old = redis.call('HMGET', KEYS[1], 'refresh_hash', 'used_hash', 'pair_id', 'made_at', 'kid')
if not old[1] then return {'over'} end
if old[1] == used_hash then
  if old[3] then redis.call('HDEL', KEYS[1], unused .. old[3]) end
  redis.call('HSET', KEYS[1], 'refresh_hash', new_hash, 'used_hash', used_hash, 'pair_id', pair_id,
    'made_at', made_at, 'kid', kid, 'last_seen_at', made_at,
    unused .. pair_id, string.format('%.0f', now + repeat_ms))
  if address ~= '' then redis.call('HSET', KEYS[1], 'address', address) end
  redis.call('PEXPIRE', KEYS[1], life_ms)
  return {'rotated'}
end
if old[2] == used_hash and is_same_device == '1' then
  local repeat_until = redis.call('HGET', KEYS[1], unused .. old[3])
  if repeat_until and now < tonumber(repeat_until) then
    return {'repeated', old[3], old[4], old[5]}
  end
end
if is_genuine ~= '1' then return {'unknown'} end
redis.call('DEL', KEYS[1])
return {'reused'}
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


@dataclass(frozen=True, slots=True)
class Pair:
    """What the two tokens that a refresh gives follow from, besides the token that was used. No secret:
    who knows it can make neither of them."""

    pair_id: str
    # Unix milliseconds.
    made_at: int
    # The key that signs the access token.
    kid: str


class Rotation(StrEnum):
    """What became of a refresh token."""

    ROTATED = "rotated"
    # It was used a moment ago, and nothing of what came of it: the same pair again.
    REPEATED = "repeated"
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
        self._ended = EndedSessions(redis)
        self._life_ms = life_ms
        self._list_ms = life_ms + _LIST_SLACK_MS
        self._add = Script(redis, _ADD)
        self._add_to_list = Script(redis, _ADD_TO_LIST)
        self._rotate = Script(redis, _ROTATE)
        self._see = Script(redis, _SEE)
        self._end = Script(redis, _END)

    async def add(self, session: Session, refresh_hash: str) -> None:
        key = session_key(session.session_id)
        fields = _to_hash(session) | {"refresh_hash": refresh_hash}
        both: list[str | int] = [part for pair in fields.items() for part in pair]
        await self._add([key], [self._life_ms, *both], safely=True)
        entry: list[str | int] = [session.session_id, self._list_ms]
        await self._add_to_list([_list_key(session.user_id)], entry, safely=True)

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
        self,
        session: Session,
        pair: Pair,
        *,
        used_hash: str,
        new_hash: str,
        genuine: bool,
        same_device: bool,
        address: str,
    ) -> tuple[Rotation, Pair]:
        """Exchanges the refresh token for ``pair`` and begins the session's life anew; or tells for
        which pair it was exchanged a moment ago.

        ``genuine`` says that the used token was made by us for this session; ``same_device``, that
        nothing speaks against its coming from the session's device.
        """
        # First the list: it must never end before a session in it.
        await self._redis.pexpire(_list_key(session.user_id), self._list_ms)
        token: list[str | int] = [used_hash, new_hash, int(genuine), int(same_device)]
        made: list[str | int] = [pair.pair_id, pair.made_at, pair.kid]
        answer: list[bytes] = await self._rotate(
            keys=[session_key(session.session_id)],
            args=[*token, *made, self._life_ms, REPEAT_MS, address, unused_field("")],
            safely=True,
        )
        outcome, *known = (part.decode() for part in answer)
        if outcome == Rotation.REUSED:
            # Only now: it ends by what the script finds. If this process dies here, gateways find it
            # over when they ask for all sessions.
            await self._ended.tell([Ended(session.user_id, session.session_id)])
        if known:
            pair = Pair(pair_id=known[0], made_at=int(known[1]), kid=known[2])
        return Rotation(outcome), pair

    async def see(self, addresses: Mapping[str, str]) -> None:
        """Records that the sessions are in use, each from an address (when known). One round trip."""
        calls: list[Call] = [
            ([session_key(session_id)], [now_ms(), address])
            for session_id, address in addresses.items()
        ]
        await self._see.each(calls)

    async def end(self, user_id: int, session_ids: Iterable[str]) -> list[str]:
        """Ends those of the sessions that are the user's, and gives them."""
        ids = list(session_ids)
        if not ids:
            return []
        await self._ended.tell([Ended(user_id, session_id) for session_id in ids])
        ended = []
        for session_id in ids:
            if await self._end([session_key(session_id)], [user_id], safely=True):
                ended.append(session_id)
            await self._redis.zrem(_list_key(user_id), session_id)
        return ended

    async def end_all(self, user_id: int, *, but: Sequence[str] = ()) -> list[str]:
        """Those that there were. Those that open meanwhile may stay."""
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
