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
from typing import Any, Protocol

import jwt
from cachetools import LRUCache, TLRUCache
from jwt.algorithms import OKPAlgorithm
from redis.asyncio import Redis

from im.auth.v1 import auth_pb2, auth_pb2_grpc
from im_common.errors import AppError, Code, unauthenticated
from im_common.runtime.context import Identity
from im_common.runtime.signed_claims import read_claims

ISSUER = "im-auth"
AUDIENCE = "im"
ALGORITHM = "EdDSA"
SESSION_CACHE_S = 2.0
_CACHED = 20_000


def session_key(session_id: str) -> str:
    """The Redis hash of a session. Without it the session is over."""
    return f"session:{session_id}"


def unused_field(pair_id: str) -> str:
    """The field of a session's hash that is there until a token of the pair is used."""
    return f"unused:{pair_id}"


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
    return OKPAlgorithm.from_jwk({"kty": key.kty, "crv": key.crv, "x": key.x})


class AccessTokens:
    """Verifies access tokens; implements ``rpc.access.UserTokens``."""

    def __init__(
        self, keys: PublicKeys, redis: Redis, *, session_cache_s: float = SESSION_CACHE_S
    ) -> None:
        """``session_cache_s``: for how long a session that was there is believed to be there."""
        self._keys = keys
        self._redis = redis
        self._verified: LRUCache[str, Identity] = LRUCache(_CACHED)
        # Signed by us; nothing is said of their sessions.
        self._signed: LRUCache[str, Identity] = LRUCache(_CACHED)
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
            identity, pair_id = await self._check_signature(token)
            await self._begin_use(identity.session_id, pair_id)
            self._verified[token] = identity
            return identity
        if identity.expires_at_ms <= time.time() * 1000:
            del self._verified[token]
            raise AppError(Code.TOKEN_EXPIRED, "the access token has expired")
        await self._check_session(identity.session_id)
        return identity

    async def read(self, token: str) -> Identity:
        """Whom the token was made for, without a look at the session: for counting, never to let
        anybody in. Raises as ``verify`` does, but for SESSION_REVOKED."""
        identity = self._verified.get(token) or self._signed.get(token)
        if identity is None:
            identity, _ = await self._check_signature(token)
            self._signed[token] = identity
        elif identity.expires_at_ms <= time.time() * 1000:
            raise AppError(Code.TOKEN_EXPIRED, "the access token has expired")
        return identity

    async def _check_signature(self, token: str) -> tuple[Identity, str]:
        """Whom it speaks for, and the id of its pair."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keys.find(str(header.get("kid", "")))
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

    async def _begin_use(self, session_id: str, pair_id: str) -> None:
        asked_at = time.monotonic()
        key, unused = session_key(session_id), unused_field(pair_id)
        user_id, is_unused = await self._redis.hmget(key, ["user_id", unused])
        self._note(session_id, user_id is not None, asked_at)
        if is_unused is not None:
            await self._redis.hdel(key, unused)

    async def _check_session(self, session_id: str) -> None:
        if session_id not in self._alive:
            asked_at = time.monotonic()
            is_there = await self._redis.exists(session_key(session_id))
            self._note(session_id, bool(is_there), asked_at)

    def _note(self, session_id: str, is_there: bool, asked_at: float) -> None:
        if not is_there:
            self._alive.pop(session_id, None)
            raise AppError(Code.SESSION_REVOKED, "the session has ended")
        self._alive[session_id] = asked_at
