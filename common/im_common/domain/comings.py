"""Who came and who went, as their friends were told: `{presence}:due`, `{presence}:told` and
`{presence}:busy` in Redis.

`due` says when to look at a user's routes next, `told` has those whose friends believe them online:
with 0, or since when (Unix ms) they have had no connection, or HIDES. Whoever connects, disconnects or
changes whether others may know is looked at soon; all who are online again when their routes would
run out, so that a gateway that died is noticed. `busy` keeps two from working on one user: what one of
them told must not overtake what the other did.

When Redis is down nobody is told anything; when it is back it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from im_common.domain.ids import now_ms
from im_common.runtime.redis_scripts import Script

_DUE, _TOLD, _BUSY = "{presence}:due", "{presence}:told", "{presence}:busy"
_KEYS = (_DUE, _TOLD, _BUSY)
# A state of `told`: friends are to see that the user is away.
HIDES = -1
# Who died at work is given up after this time.
_BUSY_MS = 15_000
_AGAIN_MS = 100

_CLAIM = """
local found = {}
local now = tonumber(ARGV[1])
for _, user in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local busy = redis.call('ZSCORE', KEYS[3], user)
  if busy and tonumber(busy) > now then
    redis.call('ZADD', KEYS[1], now + ARGV[4], user)
  else
    redis.call('ZADD', KEYS[3], now + ARGV[3], user)
    redis.call('ZADD', KEYS[1], now + ARGV[3], user)
    found[#found + 1] = {user, redis.call('ZSCORE', KEYS[2], user) or ''}
  end
end
return found
"""
# ARGV: when it was claimed until; then for each user: the state before and now ('' for none), and when
# to look again ('' for not at all). What was changed meanwhile stays, and is looked at soon.
_SETTLE = """
for i = 2, #ARGV, 4 do
  local user, old, new, again = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local told = redis.call('ZSCORE', KEYS[2], user)
  if (told and tonumber(told) or nil) == tonumber(old) and old ~= new then
    if new == '' then redis.call('ZREM', KEYS[2], user)
    else redis.call('ZADD', KEYS[2], new, user) end
  end
  if redis.call('ZSCORE', KEYS[1], user) == ARGV[1] then
    if again == '' then redis.call('ZREM', KEYS[1], user)
    else redis.call('ZADD', KEYS[1], again, user) end
  end
  redis.call('ZREM', KEYS[3], user)
end
"""


@dataclass(slots=True)
class Look:
    """A user who is to be looked at, and what becomes of it."""

    user_id: int
    # As in `told`; None when friends believe the user away.
    before: int | None
    after: int | None = None
    # Unix milliseconds; None for not before the user is touched.
    again_at: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Users that nobody else looks at until this is settled."""

    looks: list[Look]
    until: int


class Comings:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim = Script(redis, _CLAIM)
        self._settle = Script(redis, _SETTLE)

    async def touch(self, user_ids: Collection[int]) -> None:
        """These are looked at soon; one command."""
        if user_ids:
            await self._redis.zadd(_DUE, dict.fromkeys(map(str, user_ids), now_ms()), lt=True)

    async def hide(self, user_id: int) -> None:
        """Friends are soon told that the user is away, if they believe otherwise."""
        await self._redis.zadd(_TOLD, {str(user_id): HIDES}, xx=True)
        await self.touch([user_id])

    async def claim(self, most: int) -> Claim:
        """Those whose time has come."""
        now = now_ms()
        found = await self._claim(keys=_KEYS, args=[now, most, _BUSY_MS, _AGAIN_MS])
        looks = [
            Look(int(user), int(state) if state else None, int(state) if state else None)
            for user, state in found
        ]
        return Claim(looks, now + _BUSY_MS)

    async def believe(self, looks: Sequence[Look]) -> None:
        """From now on ``hide`` finds these users, who are about to be told."""
        if looks:
            await self._redis.zadd(_TOLD, {str(look.user_id): 0 for look in looks})
            for look in looks:
                look.before = 0

    async def settle(self, claim: Claim) -> None:
        """Keeps what became of them. One command."""
        if claim.looks:
            arguments: list[int | str] = [claim.until]
            for look in claim.looks:
                for value in (look.user_id, look.before, look.after, look.again_at):
                    arguments.append("" if value is None else value)
            await self._settle(keys=_KEYS, args=arguments)
