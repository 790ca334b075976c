"""Tokens that somebody made up, bent or took from elsewhere: each is refused, by the service that
makes tokens and by one that only checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auth_service.keys import jwk
from im.auth.v1 import admin_pb2
from im.auth.v1 import auth_pb2 as pb
from im.user.v1 import user_pb2
from im_common.domain.access_tokens import AUDIENCE, ISSUER
from im_common.domain.key_file import read_keys
from im_common.errors import Code
from im_common.testing.services import call, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Backend

    Forge = Callable[[Backend, dict[str, Any]], str]


async def codes(backend: Backend, token: str) -> set[Code]:
    """What a token gets from auth-service's methods and from user-service's."""
    errors = [
        await refusal(backend.validate(token)),
        await refusal(backend.sessions(token)),
        await refusal(backend.profile(token)),
    ]
    return {error.code for error in errors}


def signed(backend: Backend, claims: dict[str, Any], *, kid: str = "", key: Any = None) -> str:
    """As auth-service signs, unless a key or its name is given."""
    ours = read_keys(backend.key_file)[0]
    return jwt.encode(
        claims, key or ours.private, algorithm="EdDSA", headers={"kid": kid or ours.kid}
    )


def unsigned(backend: Backend, claims: dict[str, Any]) -> str:
    kid = read_keys(backend.key_file)[0].kid
    return jwt.encode(claims, None, algorithm="none", headers={"kid": kid})


def signed_with(secret: Callable[[Any], bytes]) -> Forge:
    """HS256 with something public as the secret; PyJWT itself would not make such a token."""

    def forge(backend: Backend, claims: dict[str, Any]) -> str:
        ours = read_keys(backend.key_file)[0]
        header = {"alg": "HS256", "typ": "JWT", "kid": ours.kid}
        signed_part = b".".join(_part(json.dumps(part).encode()) for part in (header, claims))
        mac = hmac.digest(secret(ours), signed_part, hashlib.sha256)
        return b".".join((signed_part, _part(mac))).decode()

    return forge


def _part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def changed(**changes: Any) -> Forge:
    return lambda backend, claims: signed(backend, claims | changes)


def without(claim: str) -> Forge:
    return lambda backend, claims: signed(
        backend, {name: value for name, value in claims.items() if name != claim}
    )


def flipped(backend: Backend, claims: dict[str, Any]) -> str:
    """Another user's id under a signature that was good."""
    header, body, signature = signed(backend, claims).split(".")
    bent = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "1"}
    return ".".join((header, _part(json.dumps(bent).encode()).decode(), signature))


def reformed(change: Callable[[str], str]) -> Forge:
    """Text that a lenient reader takes for the same signature."""

    def forge(backend: Backend, claims: dict[str, Any]) -> str:
        body, _, signature = signed(backend, claims).rpartition(".")
        return f"{body}.{change(signature)}"

    return forge


def named(algorithm: str) -> Forge:
    """Signed with our key, and says that it was signed in another way."""

    def forge(backend: Backend, claims: dict[str, Any]) -> str:
        ours = read_keys(backend.key_file)[0]
        header = {"alg": algorithm, "typ": "JWT", "kid": ours.kid}
        signed_part = b".".join(_part(json.dumps(part).encode()) for part in (header, claims))
        return b".".join((signed_part, _part(ours.private.sign(signed_part)))).decode()

    return forge


FORGERIES: dict[str, Forge] = {
    "no algorithm": unsigned,
    "public key bytes as secret": signed_with(lambda key: key.public.public_bytes_raw()),
    "public key of the JWKS as secret": signed_with(lambda key: jwk(key).x.encode()),
    "public key PEM as secret": signed_with(
        lambda key: key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "empty secret": signed_with(lambda key: b""),
    "another issuer": changed(iss="im-other"),
    "another audience": changed(aud="im-internal"),
    "no issuer": without("iss"),
    "no audience": without("aud"),
    "no expiry": without("exp"),
    "no session": without("sid"),
    "no subject": without("sub"),
    "a subject that is no id": changed(sub="admin"),
    "somebody's own key": lambda b, c: signed(b, c, key=Ed25519PrivateKey.generate()),
    "a key that nobody knows": lambda b, c: signed(
        b, c, kid="0" * 16, key=Ed25519PrivateKey.generate()
    ),
    "a changed body": flipped,
    "other unused bits of the signature": reformed(lambda text: text[:-1] + chr(ord(text[-1]) + 1)),
    "junk in the signature": reformed(lambda text: f"{text[:8]}!{text[8:]}"),
    "half a signature": reformed(lambda text: text[:43]),
    "no signature": reformed(lambda text: ""),
    "another algorithm": named("HS256"),
    "no algorithm, signed": named("none"),
    "nonsense": lambda b, c: "a.b.c",
    "nothing but dots": lambda b, c: "..",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_token_is_refused(backend: Backend, forge: Forge) -> None:
    pair = await backend.register()
    claims = good_claims(pair)
    assert (await backend.validate(signed(backend, claims))).user_id == pair.user_id

    assert await codes(backend, forge(backend, claims)) == {Code.UNAUTHENTICATED}


async def test_an_expired_token_is_refused(backend: Backend) -> None:
    pair = await backend.register()
    claims = good_claims(pair) | {"exp": int(time.time()) - 1}

    assert await codes(backend, signed(backend, claims)) == {Code.TOKEN_EXPIRED}


async def test_a_token_of_a_host_whose_clock_is_ahead_is_taken(backend: Backend) -> None:
    pair = await backend.register()
    ahead, far_ahead = (int(time.time()) + seconds for seconds in (3, 3600))
    soon = signed(backend, good_claims(pair) | {"iat": ahead, "exp": ahead + 60})

    assert (await backend.validate(soon)).user_id == pair.user_id
    assert (await backend.profile(soon)).user.user_id == pair.user_id
    later = signed(backend, good_claims(pair) | {"iat": far_ahead, "exp": far_ahead + 60})
    assert await codes(backend, later) == {Code.UNAUTHENTICATED}


async def test_a_token_of_a_revoked_session_is_refused(backend: Backend) -> None:
    pair = await backend.register()
    await backend.logout(pair.access_token)

    assert await codes(backend, pair.access_token) == {Code.SESSION_REVOKED}


async def test_a_token_of_a_session_that_never_was_is_refused(backend: Backend) -> None:
    claims = good_claims(await backend.register()) | {"sid": "0" * 32}

    assert await codes(backend, signed(backend, claims)) == {Code.SESSION_REVOKED}


async def test_a_refresh_token_is_no_access_token(backend: Backend) -> None:
    pair = await backend.register()

    assert await codes(backend, pair.refresh_token) == {Code.UNAUTHENTICATED}


async def test_a_users_token_opens_no_internal_method(backend: Backend) -> None:
    token = (await backend.register()).access_token

    for method, request in internal_calls(backend):
        assert (await refusal(call(method, request, token=token))).code is Code.PERMISSION_DENIED
        assert (await refusal(call(method, request))).code is Code.UNAUTHENTICATED


async def test_a_service_token_of_another_secret_opens_nothing(backend: Backend) -> None:
    for method, request in internal_calls(backend):
        error = await refusal(call(method, request, service="chat-service", secret="x" * 32))
        assert error.code is Code.UNAUTHENTICATED


async def test_a_service_token_is_no_users_token(backend: Backend) -> None:
    request = pb.ListSessionsRequest()

    error = await refusal(call(backend.auth.ListSessions, request, service="chat-service"))

    assert error.code is Code.UNAUTHENTICATED


async def test_only_a_gateway_says_where_a_client_is(backend: Backend) -> None:
    pair = await backend.register()
    request = pb.RefreshTokenRequest(refresh_token=pair.refresh_token)
    fresh = await backend.auth.RefreshToken(
        request, metadata=[("x-im-client-address", "203.0.113.5")]
    )

    (session,) = await backend.sessions(fresh.tokens.access_token)
    assert session.address == ""


def good_claims(pair: pb.TokenPair) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(pair.user_id),
        "sid": pair.session_id,
        "did": "d",
        "plt": "web",
        "iat": now,
        "exp": now + 60,
    }


def internal_calls(backend: Backend) -> list[tuple[Any, Any]]:
    return [
        (backend.auth.DisableAccount, pb.DisableAccountRequest(user_id=1)),
        (backend.users.CreateProfile, user_pb2.CreateProfileRequest(user_id=1, username="abc")),
        (backend.users.CheckUsers, user_pb2.CheckUsersRequest(user_ids=[1])),
        (backend.users.DisableProfile, user_pb2.DisableProfileRequest(user_id=1)),
        (backend.accounts.FindAccounts, admin_pb2.FindAccountsRequest()),
        (backend.accounts.RemoveAccount, admin_pb2.RemoveAccountRequest(user_id=1)),
        (backend.accounts.ListUserSessions, admin_pb2.ListUserSessionsRequest(user_id=1)),
        (backend.accounts.EndUserSessions, admin_pb2.EndUserSessionsRequest(user_id=1)),
        (backend.keys.DescribeKeys, admin_pb2.DescribeKeysRequest()),
        (backend.audit.BeginDeed, admin_pb2.BeginDeedRequest(who="a", action="b")),
        (backend.audit.EndDeed, admin_pb2.EndDeedRequest(deed_id=1, outcome="ok")),
        (backend.audit.ListDeeds, admin_pb2.ListDeedsRequest()),
    ]
