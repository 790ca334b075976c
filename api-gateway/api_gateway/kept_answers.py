"""Answers that are kept for who asks again with the same `Idempotency-Key`, in Redis.

A hash for each key: the request's print, and until it is answered who is at it and until when; then
the answer. Whoever is at it may die: then the time runs out, and the next one does it again and is
told so. What makes that harmless is the service's own doing (docs/http.md says it for each route).

An answer may hold tokens. It is sealed with a key that follows from our secret and the whole request,
so that who reads Redis has nothing of it, and who knows the `Idempotency-Key` alone neither.

Redis being away is UNAVAILABLE before anything is done. When it goes away afterwards, the answer is
given and not kept.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis
from redis.exceptions import RedisError

from im_common.errors import AppError, Code
from im_common.runtime import context, faults
from im_common.runtime.redis_scripts import Arguments, Script

log = structlog.get_logger(__name__)

KEPT_MS = 86_400_000
# Of a request's time, what is left for the answer when it has waited for another one.
_ANSWER_S = 1.0
_LOOK_AGAIN_S = (0.01, 0.25)
_NONCE_BYTES = 12

# One clock decides: this server's.
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'print', 'answer', 'until')
if held[1] and (held[1] ~= ARGV[1] or held[2] or tonumber(held[3]) > now) then
  return {held[1], held[2]}
end
redis.call('HSET', KEYS[1], 'print', ARGV[1], 'owner', ARGV[2],
  'until', string.format('%.0f', now + ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {held[1] and 'again' or 'first'}
"""

# Only who is at it: another one may have taken over.
_END = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return end
if ARGV[2] == 'forget' then
  redis.call('DEL', KEYS[1])
elseif ARGV[2] == 'open' then
  redis.call('HSET', KEYS[1], 'until', 0)
else
  redis.call('HSET', KEYS[1], 'answer', ARGV[3])
  redis.call('HDEL', KEYS[1], 'owner', 'until')
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""


class Answer(msgspec.Struct, array_like=True, frozen=True):
    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with a key: who asks (empty for who has no account yet), by which route, for what."""

    who: str
    route: str
    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to answer a request, for a time."""

    # The same for the same request only, and nothing that anybody else could tell.
    print: str
    # Somebody began before, and nobody knows how far that went.
    is_repeat: bool
    place: str
    owner: str
    seal: bytes


class KeptAnswers:
    def __init__(self, redis: Redis, *, secret: str, answered_within_ms: int) -> None:
        """``answered_within_ms``: after that nobody is at it any more."""
        self._secret = hmac.digest(secret.encode(), b"idempotency keys", "sha256")
        self._lock_ms = answered_within_ms
        self._begin = Script(redis, _BEGIN)
        self._end = Script(redis, _END)

    async def begin(self, asked: Asked) -> Attempt | Answer:
        """The answer that the same request got; or the right to answer it, when nobody else is at it,
        which may take until the request's time is nearly over.

        Raises:
            AppError: FAILED_PRECONDITION (the key is another request's); UNAVAILABLE (somebody else is
                at it still, or Redis is away).
        """
        attempt = self._attempt(asked)
        wait_s, longest_s = _LOOK_AGAIN_S
        while True:
            said = await self._ask(attempt)
            if len(said) == 1:
                return replace(attempt, is_repeat=said[0] == b"again")
            if said[0].decode() != attempt.print:
                raise AppError(
                    Code.FAILED_PRECONDITION,
                    "Idempotency-Key was used for another request",
                    field="Idempotency-Key",
                )
            if said[1] is not None:
                return self._opened(attempt, said[1])
            if _time_left_s() < wait_s + _ANSWER_S:
                raise AppError(
                    Code.UNAVAILABLE,
                    "the same request is being answered, try again",
                    retry_after_ms=1_000,
                )
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, longest_s)

    async def keep(self, attempt: Attempt, answer: Answer) -> None:
        """From now on the same request gets ``answer``."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(attempt.seal).encrypt(nonce, msgspec.msgpack.encode(answer), None)
        await self._finish(attempt, "keep", sealed)

    async def leave_open(self, attempt: Attempt) -> None:
        """How far it went is not known: the next one does it again, and is told so."""
        await self._finish(attempt, "open")

    async def forget(self, attempt: Attempt) -> None:
        """Nothing was done: the key is free again."""
        await self._finish(attempt, "forget")

    def _attempt(self, asked: Asked) -> Attempt:
        scope = "\0".join((asked.who, asked.route, asked.key)).encode()
        whole = scope + b"\0" + asked.body
        return Attempt(
            print=self._digest(b"print", whole).hex(),
            is_repeat=False,
            place=f"idempotency:{self._digest(b'place', scope).hex()}",
            owner=secrets.token_hex(8),
            seal=self._digest(b"seal", whole),
        )

    def _digest(self, purpose: bytes, what: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + what, "sha256")

    async def _ask(self, attempt: Attempt) -> list[Any]:
        try:
            said: list[Any] = await self._begin(
                keys=[attempt.place],
                args=[attempt.print, attempt.owner, self._lock_ms, KEPT_MS],
                safely=True,
            )
        except RedisError as error:
            if not faults.is_outage(error):
                raise
            raise AppError(
                Code.UNAVAILABLE,
                "what an Idempotency-Key promises cannot be kept now, try again",
                retry_after_ms=1_000,
            ) from error
        return said

    async def _finish(self, attempt: Attempt, how: str, sealed: bytes = b"") -> None:
        try:
            args: Arguments = [attempt.owner, how, sealed, KEPT_MS]
            await self._end([attempt.place], args, safely=True)
        except RedisError as error:
            faults.report(error, "an answer is not kept")

    def _opened(self, attempt: Attempt, sealed: bytes) -> Answer:
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            content = AESGCM(attempt.seal).decrypt(nonce, rest, None)
        except InvalidTag:
            raise RuntimeError("a kept answer is not what was sealed") from None
        return msgspec.msgpack.decode(content, type=Answer)


def _time_left_s() -> float:
    request = context.current.get()
    left_s = request.remaining_s() if request else None
    return 0.0 if left_s is None else left_s
