"""The routes of accounts and sessions: what is asked of the services, and what the client gets."""

from __future__ import annotations

from typing import Any

from im.auth.v1 import auth_pb2 as auth

# A fixture of conftest.py, which tests do not import.
Check = Any

_PAIR = auth.TokenPair(
    user_id=1001, session_id="s-1", access_token="a.b.c", refresh_token="r-1", expires_in=900
)
_TOKENS: dict[str, Any] = {
    "user_id": 1001,
    "session_id": "s-1",
    "access_token": "a.b.c",
    "refresh_token": "r-1",
    "expires_in": 900,
}
_SESSION: dict[str, Any] = {
    "session_id": "s-1",
    "device_id": "d-1",
    "platform": "ios",
    "address": "203.0.113.9",
    "created_at": 11,
    "last_seen_at": 12,
    "current": True,
}
_JWK: dict[str, Any] = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "k1",
    "x": "abc",
    "alg": "EdDSA",
    "use": "sig",
}


async def test_registering_makes_an_account_and_logs_in(check: Check) -> None:
    await check(
        "POST /v1/auth/register",
        "Register",
        auth.RegisterRequest(
            username="ann",
            password="correct horse",
            nickname="Ann",
            email="ann@example.com",
            device=auth.Device(device_id="d-1", platform="ios"),
        ),
        auth.RegisterResponse(tokens=_PAIR),
        201,
        _TOKENS,
        {
            "username": "ann",
            "password": "correct horse",
            "nickname": "Ann",
            "email": "ann@example.com",
            "device_id": "d-1",
            "platform": "ios",
        },
        public=True,
    )


async def test_logging_in_gives_tokens(check: Check) -> None:
    await check(
        "POST /v1/auth/login",
        "Login",
        auth.LoginRequest(username="ann", password="correct horse", device=auth.Device()),
        auth.LoginResponse(tokens=_PAIR),
        200,
        _TOKENS,
        {"username": "ann", "password": "correct horse"},
        public=True,
    )


async def test_who_refreshes_may_say_on_which_device(check: Check) -> None:
    await check(
        "POST /v1/auth/refresh",
        "RefreshToken",
        auth.RefreshTokenRequest(refresh_token="r-0", device_id="phone"),
        auth.RefreshTokenResponse(tokens=_PAIR),
        200,
        _TOKENS,
        {"refresh_token": "r-0", "device_id": "phone"},
        public=True,
    )


async def test_refreshing_gives_new_tokens(check: Check) -> None:
    await check(
        "POST /v1/auth/refresh",
        "RefreshToken",
        auth.RefreshTokenRequest(refresh_token="r-0"),
        auth.RefreshTokenResponse(tokens=_PAIR),
        200,
        _TOKENS,
        {"refresh_token": "r-0"},
        public=True,
    )


async def test_logging_out_ends_the_session(check: Check) -> None:
    await check("POST /v1/auth/logout", "Logout", auth.LogoutRequest(), auth.LogoutResponse(), 204)


async def test_the_password_can_be_changed(check: Check) -> None:
    await check(
        "POST /v1/auth/password",
        "ChangePassword",
        auth.ChangePasswordRequest(old_password="old one", new_password="new one"),
        auth.ChangePasswordResponse(),
        204,
        sent={"old_password": "old one", "new_password": "new one"},
    )


async def test_sessions_are_listed(check: Check) -> None:
    await check(
        "GET /v1/auth/sessions",
        "ListSessions",
        auth.ListSessionsRequest(limit=50),
        auth.ListSessionsResponse(sessions=[auth.Session(**_SESSION)]),
        body={"items": [_SESSION], "next_cursor": None},
    )


async def test_sessions_are_listed_a_page_at_a_time(check: Check) -> None:
    await check(
        "GET /v1/auth/sessions",
        "ListSessions",
        auth.ListSessionsRequest(limit=1, cursor="c"),
        auth.ListSessionsResponse(sessions=[auth.Session(**_SESSION)], next_cursor="d"),
        body={"items": [_SESSION], "next_cursor": "d"},
        path="/v1/auth/sessions?limit=1&cursor=c",
    )


async def test_one_session_can_be_ended(check: Check) -> None:
    await check(
        "DELETE /v1/auth/sessions/{session_id}",
        "RevokeSession",
        auth.RevokeSessionRequest(session_id="s-2"),
        auth.RevokeSessionResponse(revoked=1),
        204,
        path="/v1/auth/sessions/s-2",
    )


async def test_all_other_sessions_can_be_ended(check: Check) -> None:
    await check(
        "DELETE /v1/auth/sessions",
        "RevokeSession",
        auth.RevokeSessionRequest(all_others=True),
        auth.RevokeSessionResponse(revoked=3),
        204,
    )


async def test_the_keys_are_a_jwk_set(check: Check) -> None:
    await check(
        "GET /.well-known/jwks.json",
        "GetJwks",
        auth.GetJwksRequest(),
        auth.GetJwksResponse(keys=[auth.Jwk(**_JWK)]),
        body={"keys": [_JWK]},
        public=True,
    )
