"""Who is at the operators' page.

A session of the page is one of its own kind: it shows among the user's sessions and ends with them, and
its token opens nothing else. The role and the account are looked at each time that it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from auth_service.logic import sessions
from auth_service.logic.accounts import authenticate, confirm, refuse_disabled
from auth_service.logic.sessions import ADMIN, Device
from auth_service.model import credentials
from auth_service.model.credentials import Account
from auth_service.model.sessions import SEEN_EVERY_MS, Session
from auth_service.svc import ServiceContext
from im_common.domain.ids import now_ms
from im_common.errors import AppError, Code, unauthenticated

_DEVICE = Device("admin page", ADMIN)


@dataclass(frozen=True, slots=True)
class AdminSession:
    user_id: int
    username: str
    # Unix milliseconds.
    expires_at: int


async def open_session(
    svc: ServiceContext, username: str, password: str
) -> tuple[str, AdminSession]:
    """The token of a new session of the page, and the session.

    Raises:
        AppError: INVALID_CREDENTIALS, ACCOUNT_LOCKED; PERMISSION_DENIED without the role, or when the
            account is disabled; UNAVAILABLE.
    """
    account = await authenticate(svc, username, password)
    _check(account)
    session, token = await sessions.begin_session(svc, account.user_id, _DEVICE)
    return token, _described(svc, session, await confirm(svc, account, session.session_id))


async def check_session(svc: ServiceContext, token: str) -> AdminSession:
    """Whose session it is.

    Raises:
        AppError: UNAUTHENTICATED; SESSION_REVOKED when it is over; PERMISSION_DENIED when the account
            may not be here any more; UNAVAILABLE.
    """
    session = await _session(svc, token)
    if session is None:
        raise sessions.over()
    account = await svc.db.read(credentials.by_id, session.user_id)
    if account is None or account.deleted:
        raise sessions.over()
    _check(account)
    if session.last_seen_at + SEEN_EVERY_MS < now_ms():
        await svc.sessions.see({session.session_id: sessions.client_address()})
    return _described(svc, session, account)


async def end_session(svc: ServiceContext, token: str) -> None:
    """Safe to repeat. UNAUTHENTICATED for what never was a token."""
    session = await _session(svc, token)
    if session is not None:
        await svc.sessions.end(session.user_id, [session.session_id])


async def _session(svc: ServiceContext, token: str) -> Session | None:
    """None when it is over."""
    shown = svc.refresh_tokens.read(token)
    if not shown.genuine:
        raise unauthenticated("the session is not valid")
    session = await svc.sessions.get(shown.session_id)
    if session is not None and session.platform != ADMIN:
        raise unauthenticated("the session is not valid")
    return session if session and now_ms() < _end(svc, session) else None


def _check(account: Account) -> None:
    refuse_disabled(account)
    if not account.is_admin:
        raise AppError(Code.PERMISSION_DENIED, "the account does not have the admin role")


def _described(svc: ServiceContext, session: Session, account: Account) -> AdminSession:
    return AdminSession(account.user_id, account.username, _end(svc, session))


def _end(svc: ServiceContext, session: Session) -> int:
    return session.created_at + svc.settings.admin_session_life * 1000
