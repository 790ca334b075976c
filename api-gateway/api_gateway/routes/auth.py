"""/v1/auth and the public keys."""

from __future__ import annotations

from fastapi import Response

from api_gateway.routes.keyed import Keyed, KeyedRoute, keyed
from api_gateway.routes.parts import DEFAULT_LIMIT, Cursor, Limit, Svc, area, signed_in
from api_gateway.schemas.auth import (
    Jwk,
    Jwks,
    LoginBody,
    PasswordBody,
    RefreshBody,
    RegisterBody,
    Session,
    Tokens,
)
from api_gateway.schemas.base import Page
from im.auth.v1 import auth_pb2 as pb
from im_common.errors import AppError, Code

router = area("/v1/auth", route_class=KeyedRoute, tags=["auth"])
keys_router = area(tags=["auth"])

KEYS_FRESH_S = 60


@router.post(
    "/register", status_code=201, summary="Make an account and log in", dependencies=[keyed]
)
async def register(body: RegisterBody, svc: Svc, attempt: Keyed) -> Tokens:
    request = pb.RegisterRequest(
        username=body.username,
        password=body.password,
        nickname=body.nickname or "",
        email=body.email or "",
        device=body.device(),
    )
    try:
        return Tokens.of((await svc.auth.Register(request)).tokens)
    except AppError as error:
        if error.code is not Code.ALREADY_EXISTS or attempt is None or not attempt.is_repeat:
            raise
        return await _as_made_before(body, svc, error)


async def _as_made_before(body: RegisterBody, svc: Svc, taken: AppError) -> Tokens:
    """Of an account that the same request made and could not tell of: whose name and password are
    these may have its tokens."""
    request = pb.LoginRequest(username=body.username, password=body.password, device=body.device())
    try:
        return Tokens.of((await svc.auth.Login(request)).tokens)
    except AppError as error:
        if error.code is Code.INVALID_CREDENTIALS:
            raise taken from None
        raise


@router.post("/login", summary="Open a session on a device")
async def login(body: LoginBody, svc: Svc) -> Tokens:
    request = pb.LoginRequest(username=body.username, password=body.password, device=body.device())
    return Tokens.of((await svc.auth.Login(request)).tokens)


@router.post("/refresh", summary="Exchange a refresh token for new tokens")
async def refresh(body: RefreshBody, svc: Svc) -> Tokens:
    request = pb.RefreshTokenRequest(
        refresh_token=body.refresh_token, device_id=body.device_id or ""
    )
    return Tokens.of((await svc.auth.RefreshToken(request)).tokens)


@router.post("/logout", status_code=204, summary="End this session", dependencies=[signed_in])
async def logout(svc: Svc) -> None:
    await svc.auth.Logout(pb.LogoutRequest())


@router.post(
    "/password",
    status_code=204,
    summary="Change the password and end the other sessions",
    dependencies=[signed_in],
)
async def change_password(body: PasswordBody, svc: Svc) -> None:
    await svc.auth.ChangePassword(
        pb.ChangePasswordRequest(old_password=body.old_password, new_password=body.new_password)
    )


@router.get(
    "/sessions", summary="The sessions of the account, newest first", dependencies=[signed_in]
)
async def list_sessions(
    svc: Svc, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[Session]:
    answer = await svc.auth.ListSessions(pb.ListSessionsRequest(limit=limit, cursor=cursor))
    return Page(
        items=[Session.of(session) for session in answer.sessions],
        next_cursor=answer.next_cursor or None,
    )


@router.delete(
    "/sessions", status_code=204, summary="End all other sessions", dependencies=[signed_in]
)
async def revoke_other_sessions(svc: Svc) -> None:
    await svc.auth.RevokeSession(pb.RevokeSessionRequest(all_others=True))


@router.delete(
    "/sessions/{session_id}", status_code=204, summary="End a session", dependencies=[signed_in]
)
async def revoke_session(session_id: str, svc: Svc) -> None:
    await svc.auth.RevokeSession(pb.RevokeSessionRequest(session_id=session_id))


@keys_router.get("/.well-known/jwks.json", summary="The keys that verify access tokens")
async def get_jwks(svc: Svc, response: Response) -> Jwks:
    answer = await svc.auth.GetJwks(pb.GetJwksRequest())
    response.headers["Cache-Control"] = f"public, max-age={KEYS_FRESH_S}"
    keys = [
        Jwk(kty=key.kty, crv=key.crv, kid=key.kid, x=key.x, alg=key.alg, use=key.use)
        for key in answer.keys
    ]
    return Jwks(keys=keys)
