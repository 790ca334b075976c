"""Access tokens: what they say, and how every service checks them by itself.

A token is an Ed25519 JWT made by auth-service. A check has two parts: the signature, with the public
keys of auth-service, and the session, which must still be in Redis. The outcome of each is remembered
for a short time, so a revoked session ends within SESSION_CACHE_S. When Redis is down, a check fails
with UNAVAILABLE: nobody gets in unchecked.

A check of a token that was not seen before also notes that its pair is in use: from then on the refresh
token before it cannot be used again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import jwt
from cachetools import LRUCache, TLRUCache
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from redis.asyncio import Redis

from im.auth.v1 import auth_pb2, auth_pb2_grpc
from im_common.errors import AppError, Code, unauthenticated
from im_common.runtime.context import Identity
from im_common.runtime.ed25519 import ALGORITHM, verifier
from im_common.runtime.gathering import Gathered
from im_common.runtime.redis_keys import KeysThere
from im_common.runtime.redis_scripts import Call, Script
from im_common.runtime.signed_claims import read_claims

ISSUER = "im-auth"
AUDIENCE = "im"
SESSION_CACHE_S = 2.0
_CACHED = 20_000
_KEYS = 64


def session_key(session_id: str) -> str:
    """The Redis hash of a session. Without it the session is over."""
    return f"session:{session_id}"


def unused_field(pair_id: str) -> str:
    """The field of a session's hash that is there until a token of the pair is used."""
    return f"unused:{pair_id}"


_BEGIN_USE = """
local there = {}
for i, key in ipairs(KEYS) do
  there[i] = redis.call('EXISTS', key)
  if there[i] == 1 then redis.call('HDEL', key, ARGV[i]) end
end
return there
"""


class LiveSessions:
    """Which sessions there are. What is asked for one is asked for together with what others ask."""

    def __init__(self, redis: Redis) -> None:
        self._keys = KeysThere(redis)
        self._use_script = Script(redis, _BEGIN_USE)
        self._begin_use = Gathered(self.begin_all)

    async def begin_use(self, session_id: str, pair_id: str) -> bool:
        """A token of that pair is in use from now on; whether the session is there."""
        return await self._begin_use((session_id, pair_id))

    async def begin_all(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """The same of many sessions and pairs, by one command; no pair is named by an empty id."""

        def call(some: Sequence[tuple[str, str]]) -> Call:
            keys = [session_key(session_id) for session_id, _ in some]
            return keys, [unused_field(pair_id) for _, pair_id in some]

        return [bool(one) for one in await self._use_script.over(pairs, call)]

    async def is_over(self, session_id: str) -> bool:
        """Whether it is no more."""
        return not await self._keys.one(session_key(session_id))

    async def over(self, session_ids: Sequence[str]) -> set[str]:
        """Those that are no more."""
        there = await self._keys.each([session_key(one) for one in session_ids])
        return {one for one, is_there in zip(session_ids, there, strict=True) if not is_there}


class PublicKeys(Protocol):
    """Finds the key that verifies a token."""

    async def find(self, kid: str) -> Any | None: ...


class RemoteKeys:
    """The public keys of auth-service, fetched when a token names one that is not known yet."""

    # A token with a made-up kid must not turn into a call each.
    _ASK_AGAIN_S = 2.0

    def __init__(self, auth: auth_pb2_grpc.AuthServiceAsyncStub) -> None:
        self._auth = auth
        self._keys: dict[str, Any] = {}
        self._asked_at = float("-inf")

    async def find(self, kid: str) -> Any | None:
        if kid not in self._keys and time.monotonic() - self._asked_at > self._ASK_AGAIN_S:
            answer = await self._auth.GetJwks(auth_pb2.GetJwksRequest())
            self._asked_at = time.monotonic()
            self._keys = {key.kid: public_key(key) for key in answer.keys}
        return self._keys.get(kid)


def public_key(key: auth_pb2.Jwk) -> Any:
    found = OKPAlgorithm.from_jwk({"kty": key.kty, "crv": key.crv, "x": key.x})
    if not isinstance(found, Ed25519PublicKey):
        raise ValueError("a public key of Ed25519 is needed")
    return verifier(found)


class AccessTokens:
    """Verifies access tokens; implements ``rpc.access.UserTokens``."""

    def __init__(
        self, keys: PublicKeys, redis: Redis, *, session_cache_s: float = SESSION_CACHE_S
    ) -> None:
        """``session_cache_s``: for how long a session that was there is believed to be there."""
        self._keys = keys
        self._sessions = LiveSessions(redis)
        self._verified: LRUCache[str, Identity] = LRUCache(_CACHED)
        # Signed by us, and the ids of their pairs; nothing is said of their sessions.
        self._signed: LRUCache[str, tuple[Identity, str]] = LRUCache(_CACHED)
        # What tokens begin with -> the id of the key that they name.
        self._key_ids: LRUCache[str, str] = LRUCache(_KEYS)
        # Session id -> time.monotonic() at which it was asked for, and was there.
        self._alive: TLRUCache[str, float] = TLRUCache(
            _CACHED, ttu=lambda _, asked_at, __: asked_at + session_cache_s, timer=time.monotonic
        )

    async def verify(self, token: str) -> Identity:
        """Whom the token speaks for.

        Raises:
            AppError: UNAUTHENTICATED, TOKEN_EXPIRED, SESSION_REVOKED; UNAVAILABLE when the keys or
                the session cannot be looked up.
        """
        identity = self._verified.get(token)
        if identity is None:
            identity, pair_id = await self._read(token)
            await self._begin_use(identity.session_id, pair_id)
            self._verified[token] = identity
            self._signed.pop(token, None)
            return identity
        _check_end(identity)
        await self._check_session(identity.session_id)
        return identity

    async def verify_all(self, tokens: Sequence[str]) -> list[Identity | AppError]:
        """As ``verify`` of each, by one command for all; what it would raise is given instead. Raises
        when Redis is away."""
        claimed = [await self._claimed(token) for token in tokens]
        pairs = [(one[0].session_id, one[1]) for one in claimed if not isinstance(one, AppError)]
        there = iter(await self._sessions.begin_all(pairs))
        verified: list[Identity | AppError] = []
        for token, one in zip(tokens, claimed, strict=True):
            if isinstance(one, AppError):
                verified.append(one)
            elif next(there):
                verified.append(one[0])
                self._verified[token] = one[0]
                self._signed.pop(token, None)
            else:
                verified.append(_session_is_over())
        return verified

    async def _claimed(self, token: str) -> tuple[Identity, str] | AppError:
        """Whom it speaks for, and the id of its pair; empty when that is in use already."""
        try:
            if token in self._verified:
                return await self.read(token), ""
            return await self._read(token)
        except AppError as error:
            return error

    async def read(self, token: str) -> Identity:
        """Whom the token was made for, without a look at the session: for counting, or before
        ``verify``, never to let anybody in. Raises as ``verify`` does, but for SESSION_REVOKED."""
        identity = self._verified.get(token)
        if identity is None:
            identity, _ = await self._read(token)
        else:
            _check_end(identity)
        return identity

    async def _read(self, token: str) -> tuple[Identity, str]:
        """Whom it speaks for, and the id of its pair."""
        signed = self._signed.get(token)
        if signed is None:
            signed = self._signed[token] = await self._check_signature(token)
        else:
            _check_end(signed[0])
        return signed

    async def _check_signature(self, token: str) -> tuple[Identity, str]:
        """Whom it speaks for, and the id of its pair."""
        try:
            key = await self._keys.find(self._key_id(token))
            if key is None:
                raise unauthenticated("the access token is not valid")
            claims = read_claims(
                token,
                key,
                algorithm=ALGORITHM,
                issuer=ISSUER,
                audience=AUDIENCE,
                require=("exp", "sub", "sid", "did"),
            )
            identity = Identity(
                user_id=int(claims["sub"]),
                session_id=str(claims["sid"]),
                device_id=str(claims["did"]),
                platform=str(claims.get("plt", "other")),
                expires_at_ms=int(claims["exp"]) * 1000,
            )
            return identity, str(claims.get("jti", ""))
        except jwt.ExpiredSignatureError:
            raise AppError(Code.TOKEN_EXPIRED, "the access token has expired") from None
        except (jwt.PyJWTError, ValueError):
            raise unauthenticated("the access token is not valid") from None

    def _key_id(self, token: str) -> str:
        """Raises jwt.PyJWTError when it is no token."""
        # All that were signed with one key begin alike.
        begin = token.partition(".")[0]
        if (key_id := self._key_ids.get(begin)) is None:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
            self._key_ids[begin] = key_id
        return key_id

    async def _begin_use(self, session_id: str, pair_id: str) -> None:
        asked_at = time.monotonic()
        is_there = await self._sessions.begin_use(session_id, pair_id)
        self._note(session_id, is_there, asked_at)

    async def _check_session(self, session_id: str) -> None:
        if session_id not in self._alive:
            asked_at = time.monotonic()
            is_over = await self._sessions.is_over(session_id)
            self._note(session_id, not is_over, asked_at)

    def _note(self, session_id: str, is_there: bool, asked_at: float) -> None:
        if not is_there:
            self._alive.pop(session_id, None)
            raise _session_is_over()
        self._alive[session_id] = asked_at


def _session_is_over() -> AppError:
    return AppError(Code.SESSION_REVOKED, "the session has ended")


def _check_end(identity: Identity) -> None:
    """Raises TOKEN_EXPIRED."""
    if identity.expires_at_ms <= time.time() * 1000:
        raise AppError(Code.TOKEN_EXPIRED, "the access token has expired")
