"""Failed logins, counted in Redis by account and by address.

Redis being down is the caller's UNAVAILABLE: nobody guesses unwatched.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from redis.asyncio import Redis

from auth_service.config import GuessingConf
from im_common.errors import AppError, Code
from im_common.runtime.addresses import network
from im_common.runtime.redis_scripts import Script

_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)"
# The wait that is in force, or 0.
_WAIT = (
    _NOW
    + """
return math.max(0, (tonumber(redis.call('HGET', KEYS[1], 'until')) or 0) - now)
"""
)

# Counts a failure, unless a wait is already in force; that wait, or 0. A first wait comes with the
# failure number ARGV[1].
_FAIL = (
    _NOW
    + """
local left = (tonumber(redis.call('HGET', KEYS[1], 'until')) or 0) - now
if left > 0 then return left end
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
local beyond = failures - tonumber(ARGV[1])
local wait = 0
if beyond >= 0 then
  wait = math.min(tonumber(ARGV[2]) * 2 ^ math.min(beyond, 30), tonumber(ARGV[3]))
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + wait))
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[4]) + wait))
return 0
"""
)

# Forgets the failures, unless a wait is in force; that wait, or 0.
_SUCCEED = (
    _NOW
    + """
local left = (tonumber(redis.call('HGET', KEYS[1], 'until')) or 0) - now
if left > 0 then return left end
redis.call('DEL', KEYS[1])
return 0
"""
)


class Guesses(Protocol):
    """Stands before and after each check of a password. All raise ACCOUNT_LOCKED."""

    async def before(self, account: str, address: str) -> None:
        """Lets a check begin."""
        ...

    async def failed(self, account: str, address: str) -> None:
        """Counts a wrong password or a wrong name."""
        ...

    async def succeeded(self, account: str) -> None:
        """Lets a right password count. Of many checks at once, those that end after the wait has
        begun say nothing about the password."""
        ...


class UncountedGuesses:
    """For `rate_limits: off`."""

    async def before(self, account: str, address: str) -> None: ...

    async def failed(self, account: str, address: str) -> None: ...

    async def succeeded(self, account: str) -> None: ...


class CountedGuesses:
    def __init__(self, redis: Redis, conf: GuessingConf) -> None:
        self._conf = conf
        self._wait = Script(redis, _WAIT)
        self._fail = Script(redis, _FAIL)
        self._succeed = Script(redis, _SUCCEED)

    async def before(self, account: str, address: str) -> None:
        for key, _ in self._counted(account, address):
            _refuse(await self._wait(keys=[key]))

    async def failed(self, account: str, address: str) -> None:
        conf = self._conf
        waits = [
            await self._fail(
                keys=[key], args=[most, conf.first_wait, conf.longest_wait, conf.forget_after]
            )
            for key, most in self._counted(account, address)
        ]
        _refuse(max(waits))

    async def succeeded(self, account: str) -> None:
        _refuse(await self._succeed(keys=[_account_key(account)]))

    def _counted(self, account: str, address: str) -> list[tuple[str, int]]:
        counted = [(_account_key(account), self._conf.account_failures)]
        if address:
            counted.append((f"guesses:from:{network(address)}", self._conf.address_failures))
        return counted


def _account_key(account: str) -> str:
    # Whatever was typed, of whatever length, perhaps a password by mistake.
    return f"guesses:of:{hashlib.sha256(account.encode()).hexdigest()}"


def _refuse(wait_ms: int) -> None:
    if wait_ms > 0:
        raise AppError(
            Code.ACCOUNT_LOCKED, "too many failed attempts, try again later", retry_after_ms=wait_ms
        )
