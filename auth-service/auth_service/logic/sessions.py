"""Sessions: how they open, go on and end."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from auth_service.model.sessions import SEEN_EVERY_MS, Pair, Rotation, Session
from auth_service.svc import ServiceContext
from auth_service.tokens import make_access_token, new_pair, new_session_id
from im_common.domain.devices import check_device_id, check_platform
from im_common.domain.events import SessionRevoked, user_event
from im_common.domain.ids import now_ms
from im_common.domain.paging import Int64, page_limit, read_cursor_as, write_cursor
from im_common.errors import AppError, Code, not_found, unauthenticated
from im_common.runtime import context
from im_common.runtime.context import Identity
from im_common.runtime.faults import report
from im_common.sql.outbox import Change

log = structlog.get_logger(__name__)

# Of sessions of the operators' page: no client names it, and they are good for nothing else.
ADMIN = "admin"
# Nobody who ends a session waits longer than that for a database that is away.
TELL_WITHIN_S = 1.0
_SESSION_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Device:
    device_id: str
    platform: str


@dataclass(frozen=True, slots=True)
class TokenPair:
    user_id: int
    session_id: str
    access_token: str
    refresh_token: str
    # Seconds.
    expires_in: int


def check_device(device: Device) -> Device:
    """With a name when it has none. INVALID_ARGUMENT when it cannot be one."""
    device_id = check_device_id(device.device_id)
    platform = check_platform(device.platform or "other")
    return Device(device_id or secrets.token_hex(8), platform)


def client_address() -> str:
    """Where the client of the current request is; empty when nobody knows."""
    request = context.current.get()
    return request.client_address if request else ""


async def open_session(svc: ServiceContext, user_id: int, device: Device) -> TokenPair:
    """A new session; the older ones that it replaces end."""
    session, refresh_token = await begin_session(svc, user_id, device)
    replaced = _replaced(svc, await svc.sessions.of_user(user_id))
    ended = await svc.sessions.end(user_id, [old.session_id for old in replaced])
    await tell_revoked(svc, user_id, ended)
    return _token_pair(svc, session, new_pair(svc.keys), refresh_token)


async def begin_session(svc: ServiceContext, user_id: int, device: Device) -> tuple[Session, str]:
    """One beside those that there are, and what proves it."""
    now = now_ms()
    session = Session(
        session_id=new_session_id(),
        user_id=user_id,
        device_id=device.device_id,
        platform=device.platform,
        address=client_address(),
        created_at=now,
        last_seen_at=now,
    )
    refresh_token = svc.refresh_tokens.make(session.session_id)
    await svc.sessions.add(session, svc.refresh_tokens.hash(refresh_token))
    return session, refresh_token


async def refresh_token(svc: ServiceContext, token: str, device_id: str = "") -> TokenPair:
    """Exchanges a refresh token. The same pair again when an answer was lost, or of two at once.

    ``device_id`` is what the client says of itself; a client that says nothing is believed to be the
    device that its token was made for.

    Raises:
        AppError: INVALID_ARGUMENT; UNAUTHENTICATED; SESSION_REVOKED, also when it was used before
            and may not be used again, which ends the session; UNAVAILABLE.
    """
    device_id = check_device_id(device_id)
    used = svc.refresh_tokens.read(token)
    session = await svc.sessions.get(used.session_id)
    if session is None:
        raise over()
    if session.platform == ADMIN:
        raise unauthenticated("the refresh token is not valid")
    fresh = new_pair(svc.keys)
    outcome, pair = await svc.sessions.rotate(
        session,
        fresh,
        used_hash=used.hash,
        new_hash=svc.refresh_tokens.hash(svc.refresh_tokens.next(token, fresh)),
        genuine=used.genuine,
        same_device=device_id in ("", session.device_id),
        address=client_address(),
    )
    if outcome is Rotation.UNKNOWN:
        raise unauthenticated("the refresh token is not valid")
    if outcome is Rotation.REUSED:
        log.warning(
            "refresh token used twice", account=session.user_id, session_id=session.session_id
        )
        await tell_revoked(svc, session.user_id, [session.session_id])
    if outcome not in (Rotation.ROTATED, Rotation.REPEATED):
        raise over()
    return _token_pair(svc, session, pair, svc.refresh_tokens.next(token, pair))


async def validate_token(svc: ServiceContext, token: str) -> Identity:
    """Whom an access token speaks for. UNAUTHENTICATED, TOKEN_EXPIRED, SESSION_REVOKED, UNAVAILABLE."""
    identity = await svc.access_tokens.verify(token)
    session = await svc.sessions.get(identity.session_id)
    if session is not None and session.last_seen_at + SEEN_EVERY_MS < now_ms():
        await svc.sessions.see({identity.session_id: client_address()})
    return identity


async def see_sessions(svc: ServiceContext, addresses: Mapping[str, str]) -> None:
    """Notes that these are in use, each from an address, which may be empty."""
    await svc.sessions.see(
        {
            session_id: address
            for session_id, address in addresses.items()
            if _SESSION_ID.fullmatch(session_id)
        }
    )


async def logout(svc: ServiceContext, identity: Identity) -> None:
    await svc.sessions.end(identity.user_id, [identity.session_id])


async def list_sessions(svc: ServiceContext, user_id: int) -> list[Session]:
    """Newest first."""
    return await svc.sessions.of_user(user_id)


async def page_of_sessions(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[Session], str]:
    """A page, newest first, and the cursor of the next one (empty when this is the last)."""
    size = page_limit(limit)
    before = read_cursor_as(tuple[Int64, str], cursor)
    found = sorted(await list_sessions(svc, user_id), key=_place, reverse=True)
    left = found if before is None else [session for session in found if _place(session) < before]
    page = left[:size]
    return page, write_cursor(*_place(page[-1])) if len(left) > size else ""


def _place(session: Session) -> tuple[int, str]:
    return session.created_at, session.session_id


async def revoke_session(svc: ServiceContext, user_id: int, session_id: str) -> int:
    """Ends one of the user's sessions. NOT_FOUND when it is none."""
    if not _SESSION_ID.fullmatch(session_id):
        raise not_found("session")
    ended = await svc.sessions.end(user_id, [session_id])
    if not ended:
        raise not_found("session")
    await tell_revoked(svc, user_id, ended)
    return len(ended)


async def revoke_other_sessions(svc: ServiceContext, identity: Identity) -> int:
    """Ends all but the caller's own. How many there were."""
    ended = await svc.sessions.end_all(identity.user_id, but=[identity.session_id])
    await tell_revoked(svc, identity.user_id, ended)
    return len(ended)


async def end_sessions(svc: ServiceContext, user_id: int, session_id: str) -> int:
    """For an operator: ends one session of a user, NOT_FOUND when it is none; or, without an id, all
    of them. How many there were."""
    if session_id:
        return await revoke_session(svc, user_id, session_id)
    return len(await svc.sessions.end_all(user_id))


async def tell_revoked(svc: ServiceContext, user_id: int, ended: Sequence[str]) -> None:
    """Tells the user's other devices of sessions that have ended, at most once: Redis has no part in a
    transaction, and where the database is away, or this process dies before, a session is over all the
    same and nobody is told."""
    if not ended:
        return

    def tell(change: Change) -> None:
        for session_id in ended:
            data = SessionRevoked(session_id=session_id)
            change.tell(user_event(user_id, data, but_sessions=ended))

    try:
        async with asyncio.timeout(TELL_WITHIN_S):
            await svc.outbox.write(tell)
    except Exception as error:
        report(error, "the end of a session is not told", account=user_id)


def _replaced(svc: ServiceContext, newest_first: Sequence[Session]) -> Sequence[Session]:
    """Those that go. Judged by the order of logins, so that of two at once both see the same."""
    kept: list[Session] = []
    clients = [session for session in newest_first if session.platform != ADMIN]
    for session in clients:
        if len(kept) < svc.settings.max_sessions and _may_stay(svc, session, kept):
            kept.append(session)
    return [session for session in clients if session not in kept]


def _may_stay(svc: ServiceContext, session: Session, newer: Sequence[Session]) -> bool:
    match svc.settings.multi_login:
        case "single":
            return not newer
        case "one_per_platform":
            return all(other.platform != session.platform for other in newer)
        case "allow":
            return True


def _token_pair(svc: ServiceContext, session: Session, pair: Pair, refresh_token: str) -> TokenPair:
    life_s = svc.settings.access_token_life
    passed_s = (now_ms() - pair.made_at) // 1000
    return TokenPair(
        user_id=session.user_id,
        session_id=session.session_id,
        access_token=make_access_token(svc.keys, session, pair, life_s),
        refresh_token=refresh_token,
        expires_in=max(0, min(life_s, life_s - passed_s)),
    )


def over() -> AppError:
    """What is said of a session that is no more."""
    return AppError(Code.SESSION_REVOKED, "the session has ended")
