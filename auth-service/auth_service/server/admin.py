"""AccountAdminService, AdminSessionService, KeyAdminService and AuditService: a line or two for each
RPC."""

from __future__ import annotations

from typing import Any

from auth_service.logic import accounts, admin_sessions, audit, deletion, sessions
from auth_service.logic.admin_sessions import AdminSession
from auth_service.model.credentials import FoundAccount
from auth_service.model.deeds import Deed
from auth_service.server.auth import session_view
from auth_service.svc import ServiceContext
from im.auth.v1 import admin_pb2 as pb
from im.auth.v1.admin_pb2_grpc import (
    AccountAdminServiceServicer,
    AdminSessionServiceServicer,
    AuditServiceServicer,
    KeyAdminServiceServicer,
)


class AccountAdminServicer(AccountAdminServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def FindAccounts(
        self, request: pb.FindAccountsRequest, _: Any
    ) -> pb.FindAccountsResponse:
        found, next_cursor = await accounts.find_accounts(
            self._svc,
            user_id=request.user_id,
            text=request.text,
            only_disabled=request.only_disabled,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.FindAccountsResponse(accounts=map(_account, found), next_cursor=next_cursor)

    async def RemoveAccount(
        self, request: pb.RemoveAccountRequest, _: Any
    ) -> pb.RemoveAccountResponse:
        await deletion.remove_account(self._svc, request.user_id)
        return pb.RemoveAccountResponse()

    async def ListUserSessions(
        self, request: pb.ListUserSessionsRequest, _: Any
    ) -> pb.ListUserSessionsResponse:
        found = await sessions.list_sessions(self._svc, request.user_id)
        return pb.ListUserSessionsResponse(sessions=[session_view(s, current="") for s in found])

    async def EndUserSessions(
        self, request: pb.EndUserSessionsRequest, _: Any
    ) -> pb.EndUserSessionsResponse:
        ended = await sessions.end_sessions(self._svc, request.user_id, request.session_id)
        return pb.EndUserSessionsResponse(ended=ended)

    async def SetAdmin(self, request: pb.SetAdminRequest, _: Any) -> pb.SetAdminResponse:
        await accounts.set_admin(self._svc, request.user_id, request.admin)
        return pb.SetAdminResponse()


class AdminSessionServicer(AdminSessionServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def OpenAdminSession(
        self, request: pb.OpenAdminSessionRequest, _: Any
    ) -> pb.OpenAdminSessionResponse:
        token, session = await admin_sessions.open_session(
            self._svc, request.username, request.password
        )
        return pb.OpenAdminSessionResponse(token=token, session=_admin_session(session))

    async def CheckAdminSession(
        self, request: pb.CheckAdminSessionRequest, _: Any
    ) -> pb.CheckAdminSessionResponse:
        session = await admin_sessions.check_session(self._svc, request.token)
        return pb.CheckAdminSessionResponse(session=_admin_session(session))

    async def EndAdminSession(
        self, request: pb.EndAdminSessionRequest, _: Any
    ) -> pb.EndAdminSessionResponse:
        await admin_sessions.end_session(self._svc, request.token)
        return pb.EndAdminSessionResponse()


class KeyAdminServicer(KeyAdminServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def DescribeKeys(
        self, _request: pb.DescribeKeysRequest, _: Any
    ) -> pb.DescribeKeysResponse:
        keys, signing = self._svc.keys.all(), self._svc.keys.signing()
        return pb.DescribeKeysResponse(
            keys=[
                pb.DescribedKey(kid=key.kid, created_at=key.created_at, signs=key is signing)
                for key in keys
            ],
            token_life=self._svc.settings.access_token_life,
        )


class AuditServicer(AuditServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def BeginDeed(self, request: pb.BeginDeedRequest, _: Any) -> pb.BeginDeedResponse:
        deed_id = await audit.begin_deed(
            self._svc,
            who=request.who,
            action=request.action,
            target=request.target,
            reason=request.reason,
        )
        return pb.BeginDeedResponse(deed_id=deed_id)

    async def EndDeed(self, request: pb.EndDeedRequest, _: Any) -> pb.EndDeedResponse:
        await audit.end_deed(self._svc, request.deed_id, request.outcome)
        return pb.EndDeedResponse()

    async def ListDeeds(self, request: pb.ListDeedsRequest, _: Any) -> pb.ListDeedsResponse:
        found, next_cursor = await audit.list_deeds(
            self._svc,
            who=request.who,
            target=request.target,
            action=request.action,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.ListDeedsResponse(deeds=map(_deed, found), next_cursor=next_cursor)


def _account(found: FoundAccount) -> pb.Account:
    account = found.account
    return pb.Account(
        user_id=account.user_id,
        username=account.username,
        nickname=account.nickname,
        email=account.email,
        disabled=account.disabled,
        deleted=account.deleted,
        created_at=found.created_at,
        admin=account.is_admin,
    )


def _admin_session(session: AdminSession) -> pb.AdminSession:
    return pb.AdminSession(
        user_id=session.user_id, username=session.username, expires_at=session.expires_at
    )


def _deed(deed: Deed) -> pb.Deed:
    return pb.Deed(
        deed_id=deed.deed_id,
        at=deed.at,
        who=deed.who,
        action=deed.action,
        target=deed.target,
        outcome=deed.outcome,
        reason=deed.reason,
    )
