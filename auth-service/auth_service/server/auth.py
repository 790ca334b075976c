"""AuthService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from auth_service.keys import jwk
from auth_service.logic import accounts, deletion, sessions
from auth_service.logic.sessions import Device, TokenPair
from auth_service.model.sessions import Session
from auth_service.svc import ServiceContext
from im.auth.v1 import auth_pb2 as pb
from im.auth.v1.auth_pb2_grpc import AuthServiceServicer
from im_common.errors import invalid
from im_common.runtime.context import identity


class AuthServicer(AuthServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def Register(self, request: pb.RegisterRequest, _: Any) -> pb.RegisterResponse:
        pair = await accounts.register(
            self._svc,
            username=request.username,
            password=request.password,
            nickname=request.nickname,
            email=request.email,
            device=_device(request.device),
        )
        return pb.RegisterResponse(tokens=_tokens(pair))

    async def Login(self, request: pb.LoginRequest, _: Any) -> pb.LoginResponse:
        pair = await accounts.login(
            self._svc,
            username=request.username,
            password=request.password,
            device=_device(request.device),
        )
        return pb.LoginResponse(tokens=_tokens(pair))

    async def ValidateToken(
        self, request: pb.ValidateTokenRequest, _: Any
    ) -> pb.ValidateTokenResponse:
        found = await sessions.validate_token(self._svc, request.access_token)
        return pb.ValidateTokenResponse(
            user_id=found.user_id,
            session_id=found.session_id,
            device_id=found.device_id,
            platform=found.platform,
            expires_at=found.expires_at_ms,
        )

    async def RefreshToken(
        self, request: pb.RefreshTokenRequest, _: Any
    ) -> pb.RefreshTokenResponse:
        pair = await sessions.refresh_token(self._svc, request.refresh_token, request.device_id)
        return pb.RefreshTokenResponse(tokens=_tokens(pair))

    async def Logout(self, request: pb.LogoutRequest, _: Any) -> pb.LogoutResponse:
        await sessions.logout(self._svc, identity())
        return pb.LogoutResponse()

    async def ListSessions(
        self, request: pb.ListSessionsRequest, _: Any
    ) -> pb.ListSessionsResponse:
        caller = identity()
        page, next_cursor = await sessions.page_of_sessions(
            self._svc, caller.user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListSessionsResponse(
            sessions=[session_view(s, caller.session_id) for s in page], next_cursor=next_cursor
        )

    async def RevokeSession(
        self, request: pb.RevokeSessionRequest, _: Any
    ) -> pb.RevokeSessionResponse:
        caller = identity()
        if request.WhichOneof("target") == "session_id":
            revoked = await sessions.revoke_session(self._svc, caller.user_id, request.session_id)
        elif request.all_others:
            revoked = await sessions.revoke_other_sessions(self._svc, caller)
        else:
            raise invalid("target", "must be session_id, or all_others as true")
        return pb.RevokeSessionResponse(revoked=revoked)

    async def ChangePassword(
        self, request: pb.ChangePasswordRequest, _: Any
    ) -> pb.ChangePasswordResponse:
        await accounts.change_password(
            self._svc,
            identity(),
            old_password=request.old_password,
            new_password=request.new_password,
        )
        return pb.ChangePasswordResponse()

    async def DeleteAccount(
        self, request: pb.DeleteAccountRequest, _: Any
    ) -> pb.DeleteAccountResponse:
        await deletion.delete_account(self._svc, identity(), request.password)
        return pb.DeleteAccountResponse()

    async def DisableAccount(
        self, request: pb.DisableAccountRequest, _: Any
    ) -> pb.DisableAccountResponse:
        await accounts.disable_account(self._svc, request.user_id, request.disabled)
        return pb.DisableAccountResponse()

    async def SeeSessions(self, request: pb.SeeSessionsRequest, _: Any) -> pb.SeeSessionsResponse:
        await sessions.see_sessions(self._svc, {s.session_id: s.address for s in request.sessions})
        return pb.SeeSessionsResponse()

    async def GetJwks(self, request: pb.GetJwksRequest, _: Any) -> pb.GetJwksResponse:
        return pb.GetJwksResponse(keys=[jwk(key) for key in self._svc.keys.all()])


def _device(device: pb.Device) -> Device:
    return Device(device.device_id, device.platform)


def _tokens(pair: TokenPair) -> pb.TokenPair:
    return pb.TokenPair(
        user_id=pair.user_id,
        session_id=pair.session_id,
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=pair.expires_in,
    )


def session_view(session: Session, current: str) -> pb.Session:
    return pb.Session(
        session_id=session.session_id,
        device_id=session.device_id,
        platform=session.platform,
        address=session.address,
        created_at=session.created_at,
        last_seen_at=session.last_seen_at,
        current=session.session_id == current,
    )
