"""Access tokens of many clients at once: each is judged as it is alone, by one question for all."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from im.auth.v1.auth_pb2 import Jwk
from im_common.domain.access_tokens import (
    AUDIENCE,
    ISSUER,
    AccessTokens,
    public_key,
    session_key,
    unused_field,
)
from im_common.errors import AppError, Code
from im_common.runtime.ed25519 import ALGORITHM
from im_common.testing.fixtures import redis, valkey

__all__ = ["redis", "valkey"]

_KEY, _ANOTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


class Keys:
    """As auth-service publishes them, or as it has them itself."""

    def __init__(self, *, published: bool = True) -> None:
        x = base64.urlsafe_b64encode(_KEY.public_key().public_bytes_raw()).decode().rstrip("=")
        known = public_key(Jwk(kid="k", kty="OKP", crv="Ed25519", x=x))
        self._key = known if published else _KEY.public_key()

    async def find(self, kid: str) -> Any | None:
        return self._key if kid == "k" else None


def _token(
    user_id: int, *, key: Ed25519PrivateKey = _KEY, kid: str = "k", ends_in: int = 60
) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(user_id), "sid": f"s{user_id}"}
    claims |= {"did": "d", "jti": f"p{user_id}", "exp": int(time.time()) + ends_in}  # type: ignore[dict-item]
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid})


async def _begin(redis: Redis, *user_ids: int) -> None:
    for user_id in user_ids:
        fields: Any = {"user_id": user_id, unused_field(f"p{user_id}"): 1}
        await redis.hset(session_key(f"s{user_id}"), mapping=fields)


def _outcomes(found: list[Any]) -> list[int | Code]:
    return [one.code if isinstance(one, AppError) else one.user_id for one in found]


@pytest.mark.parametrize("published", [True, False])
async def test_each_of_many_is_judged_as_it_is_alone(redis: Redis, *, published: bool) -> None:
    keys = Keys(published=published)
    tokens = AccessTokens(keys, redis)
    await _begin(redis, 1, 2, 3, 4)
    shown = [
        _token(1),
        _token(2, key=_ANOTHER),
        _token(3, ends_in=-1),
        _token(4),
        _token(5),
        _token(4, kid="unknown"),
        "no token",
        _token(4) + "AAAA",
        _token(4)[:-4],
    ]
    together = _outcomes(await tokens.verify_all(shown))
    no, over, late = Code.UNAUTHENTICATED, Code.SESSION_REVOKED, Code.TOKEN_EXPIRED
    assert together == [1, no, late, 4, over, no, no, no, no]
    alone: list[int | Code] = []
    for token in shown:
        try:
            alone.append((await AccessTokens(keys, redis).verify(token)).user_id)
        except AppError as error:
            alone.append(error.code)
    assert together == alone
    assert await tokens.verify_all([]) == []


async def test_a_session_that_ended_is_noticed_the_next_time(redis: Redis) -> None:
    tokens = AccessTokens(Keys(), redis)
    await _begin(redis, 1, 2)
    shown = [_token(1), _token(2)]
    assert _outcomes(await tokens.verify_all(shown)) == [1, 2]
    await redis.delete(session_key("s1"))
    assert _outcomes(await tokens.verify_all(shown)) == [Code.SESSION_REVOKED, 2]


async def test_a_token_that_ended_since_is_noticed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, shown = AccessTokens(Keys(), redis), [_token(1)]
    await _begin(redis, 1)
    assert _outcomes(await tokens.verify_all(shown)) == [1]
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert _outcomes(await tokens.verify_all(shown)) == [Code.TOKEN_EXPIRED]


async def test_all_pairs_are_in_use_from_then_on(redis: Redis) -> None:
    tokens = AccessTokens(Keys(), redis)
    await _begin(redis, 1, 2, 3)
    await tokens.verify_all([_token(1), _token(2)])
    unused = [await redis.hexists(session_key(f"s{n}"), unused_field(f"p{n}")) for n in (1, 2, 3)]
    assert unused == [False, False, True]
