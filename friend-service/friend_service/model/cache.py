"""Lists of friends and of blocked users in Redis: `friends:{user_id}` and `blocks:{user_id}`.

Each is a set that is in one of three states:

- loaded: the ids, and beside them the run id of the Redis server. What another server has left behind
  (one that was started again from an older file, a replica that was promoted) does not count.
- being read: one token. Who read the list from the database stores it only if its token is still there.
- being changed: a token for each change on its way. Until it is done all ask the database.

A change enters the second state before its transaction begins and leaves it after the commit, so a
reader that crosses it finds its token gone. A change whose outcome nobody knows, because the process
died or the connection broke, leaves its token to expire.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec
import structlog
from redis.asyncio import Redis

from im_common.errors import AppError
from im_common.runtime.faults import is_outage, report
from im_common.runtime.redis_scripts import Call, Script

log = structlog.get_logger(__name__)

LOADED_MS = 600_000
# Longer than a transaction takes from its first statement to its commit.
CHANGING_MS = 10_000
READING_MS = 5_000
REST_S = 1.0
# A longer list is asked of the database each time.
MOST_MEMBERS = 20_000

_RUN = "local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')\n"
# For each key and member (a JSON array of strings: one argument costs less than a thousand): whether
# it is in the list, or -1 when the list is not loaded.
_LOOK = (
    _RUN
    + """
local found, members = {}, cjson.decode(ARGV[1])
for i, key in ipairs(KEYS) do
  local both = redis.call('SMISMEMBER', key, run, members[i])
  found[i] = both[1] == 1 and both[2] or -1
end
return found
"""
)
# Of each key what it has, or an empty list when it is not loaded.
_WHOLE = (
    _RUN
    + """
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = redis.call('SISMEMBER', key, run) == 1 and redis.call('SMEMBERS', key) or {}
end
return found
"""
)
# For each key whether the caller may load it.
_CLAIM = (
    _RUN
    + """
local claimed = {}
for i, key in ipairs(KEYS) do
  local one = redis.call('SRANDMEMBER', key)
  local token = one and string.sub(one, 2, 2) == ':'
  if not one or (not token and redis.call('SISMEMBER', key, run) == 0) then
    redis.call('DEL', key)
    redis.call('SADD', key, 'r:' .. ARGV[1])
    redis.call('PEXPIRE', key, ARGV[2])
    claimed[i] = 1
  else
    claimed[i] = 0
  end
end
return claimed
"""
)
_STORE = (
    _RUN
    + """
if redis.call('SISMEMBER', KEYS[1], 'r:' .. ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SADD', KEYS[1], run)
for i = 3, #ARGV, 5000 do
  redis.call('SADD', KEYS[1], unpack(ARGV, i, math.min(i + 4999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
_BEGIN = """
for _, key in ipairs(KEYS) do
  local one = redis.call('SRANDMEMBER', key)
  if one and string.sub(one, 1, 2) ~= 'c:' then redis.call('DEL', key) end
  redis.call('SADD', key, 'c:' .. ARGV[1])
  redis.call('PEXPIRE', key, ARGV[2])
end
"""
_END = """
for _, key in ipairs(KEYS) do
  local one = redis.call('SRANDMEMBER', key)
  if one and string.sub(one, 1, 2) ~= 'c:' then
    redis.call('DEL', key)
  else
    redis.call('SREM', key, 'c:' .. ARGV[1])
  end
end
"""


class Kind(StrEnum):
    FRIENDS = "friends"
    BLOCKS = "blocks"


# A list, and who may be in it.
Question = tuple[Kind, int, int]
List = tuple[Kind, int]


class Lists:
    """What of the lists Redis knows. A cache: when Redis is away everything is asked of the database,
    but for changes, which are refused, as they could not be told to those who read the cache."""

    def __init__(self, redis: Redis) -> None:
        # When it did not answer it is not asked for a while: who asks has little time.
        self._rests_until = 0.0
        self._look = Script(redis, _LOOK)
        self._whole = Script(redis, _WHOLE)
        self._claim = Script(redis, _CLAIM)
        self._store = Script(redis, _STORE)
        self._begin = Script(redis, _BEGIN)
        self._end = Script(redis, _END)

    async def look(self, questions: Sequence[Question]) -> list[bool | None]:
        """For each (kind, owner, member) whether it is so, or None when it is not known; by one
        command."""
        if not questions:
            return []
        if self._rests_until > time.monotonic():
            return [None] * len(questions)
        try:
            found = await self._look.over(questions, _asking)
        except Exception as error:
            self._fail_open(error)
            return [None] * len(questions)
        return [None if answer < 0 else bool(answer) for answer in found]

    async def whole(self, lists: Sequence[List]) -> dict[List, list[int]]:
        """Those of the lists that are known, each in ascending order; by one pipeline."""
        if self._rests_until > time.monotonic():
            return {}
        try:
            found = await self._whole.over(lists, _about())
        except Exception as error:
            self._fail_open(error)
            return {}
        return {
            one: sorted(int(member) for member in members if not _is_run(member))
            for one, members in zip(lists, found, strict=True)
            if members
        }

    async def claim(self, lists: Sequence[List]) -> tuple[str, list[List]]:
        """Those that the caller may ``store`` after it has read them, and the token for it."""
        token = secrets.token_hex(8)
        if self._rests_until > time.monotonic():
            return token, []
        try:
            found = await self._claim.over(lists, _about(token, READING_MS))
        except Exception as error:
            self._fail_open(error)
            return token, []
        return token, [one for one, is_ours in zip(lists, found, strict=True) if is_ours]

    async def store(self, token: str, members: Mapping[List, Collection[int]]) -> None:
        """What was read after the claim; a list that is being changed since is left alone. Short ones
        go together: who comes first after a while is missed, and thousands may come at once."""
        try:
            calls: list[Call] = []
            room = MOST_MEMBERS
            for one, ids in members.items():
                if room < len(ids):
                    await self._store.each(calls)
                    calls, room = [], MOST_MEMBERS
                calls.append(([_key(*one)], [token, LOADED_MS, *ids]))
                room -= len(ids)
            await self._store.each(calls)
        except Exception as error:
            self._fail_open(error)

    @asynccontextmanager
    async def changing(self, lists: Sequence[List]) -> AsyncIterator[None]:
        """Around a transaction that changes them. Raises what Redis raises before anything is done."""
        token = secrets.token_hex(8)
        await self._begin.over(lists, _about(token, CHANGING_MS))
        try:
            yield
        except AppError:
            # A refusal: rolled back.
            await self._done(lists, token)
            raise
        # After any other exception it may still be committed: all ask the database for a while.
        await self._done(lists, token)

    async def _done(self, lists: Sequence[List], token: str) -> None:
        try:
            await self._end.over(lists, _about(token))
        except Exception as error:
            # The token expires, and until then the cache is not used.
            self._fail_open(error)

    def _fail_open(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST_S
        if not is_outage(error):
            report(error, "cache of lists failed")
        log.debug("cache of lists is away", error=repr(error))


def _asking(questions: Sequence[Question]) -> Call:
    keys = [_key(kind, owner) for kind, owner, _ in questions]
    return keys, [msgspec.json.encode([str(member) for _, _, member in questions])]


def _about(*args: str | int) -> Callable[[Sequence[List]], Call]:
    """What a script is called with that is about some lists."""
    return lambda lists: ([_key(*one) for one in lists], args)


def _is_run(member: bytes) -> bool:
    # The id of a run has forty digits, a user's at most nineteen.
    return len(member) == 40


def _key(kind: Kind, user_id: int) -> str:
    return f"{kind}:{user_id}"
