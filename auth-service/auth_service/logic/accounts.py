"""Accounts: Register, Login, ChangePassword, DisableAccount, SetAdmin, FindAccounts.

The profile of an account is user-service's. Until it has confirmed it, the account is not whole:
a Register with the same password goes on with it, and so does the next Login.
"""

from __future__ import annotations

import structlog
from sqlalchemy.exc import IntegrityError

from auth_service.logic import sessions
from auth_service.logic.account_rules import key_of_username, new_account
from auth_service.logic.sessions import Device, TokenPair
from auth_service.model import credentials
from auth_service.model.credentials import Account, FoundAccount, NewAccount
from auth_service.passwords import check_length
from auth_service.svc import ServiceContext
from im.user.v1.user_pb2 import CreateProfileRequest, DisableProfileRequest
from im_common.domain.ids import now_ms
from im_common.domain.paging import Ascii, page_limit, read_cursor_as, write_cursor
from im_common.errors import AppError, Code, not_found, unavailable
from im_common.runtime.context import Identity
from im_common.sql.db import is_duplicate_key

log = structlog.get_logger(__name__)


async def register(
    svc: ServiceContext,
    *,
    username: str,
    password: str,
    nickname: str,
    email: str,
    device: Device,
) -> TokenPair:
    """Makes an account and logs in.

    Raises:
        AppError: INVALID_ARGUMENT, ALREADY_EXISTS; UNAVAILABLE when the profile could not be made,
            then the same call can be repeated.
    """
    new = new_account(username=username, nickname=nickname, email=email)
    check_length("password", password)
    device = sessions.check_device(device)
    account = await svc.db.read(credentials.by_username, new.username_key)
    if account is None:
        account = await _add(svc, new, await svc.passwords.hash(password))
    else:
        await _check_unfinished(svc, account, new, password)
    if not await _make_profile(svc, account):
        raise _taken("username")
    return await _open_session(svc, account, device)


async def login(svc: ServiceContext, *, username: str, password: str, device: Device) -> TokenPair:
    """Opens a session.

    Raises:
        AppError: INVALID_CREDENTIALS, ACCOUNT_LOCKED; PERMISSION_DENIED when the account is
            disabled; UNAVAILABLE.
    """
    device = sessions.check_device(device)
    account = await authenticate(svc, username, password)
    refuse_disabled(account)
    if not account.has_profile:
        await _make_profile(svc, account)
    return await _open_session(svc, account, device)


async def change_password(
    svc: ServiceContext, identity: Identity, *, old_password: str, new_password: str
) -> None:
    """Ends the user's other sessions.

    Raises:
        AppError: INVALID_ARGUMENT, INVALID_CREDENTIALS, ACCOUNT_LOCKED, UNAVAILABLE.
    """
    check_length("new_password", new_password)
    account = await svc.db.read(credentials.by_id, identity.user_id)
    if account is None:
        raise wrong()
    account = await authenticate(svc, account.username, old_password)
    new_hash = await svc.passwords.hash(new_password)
    # Before, so that nothing is changed when Redis is away; after, for those that opened meanwhile.
    ended = await svc.sessions.end_all(identity.user_id, but=[identity.session_id])
    replaced = await svc.db.write(
        credentials.replace_password,
        account.user_id,
        old_hash=account.password_hash,
        new_hash=new_hash,
    )
    if not replaced:
        raise wrong()
    ended += await svc.sessions.end_all(identity.user_id, but=[identity.session_id])
    await sessions.tell_revoked(svc, identity.user_id, ended)


async def disable_account(svc: ServiceContext, user_id: int, disabled: bool) -> None:
    """Ends the user's sessions, and lets nobody find the user; or opens the account again. When a part
    is away the door may be shut already: it can be repeated.

    Raises:
        AppError: NOT_FOUND when there is no such account; UNAVAILABLE.
    """
    if not await svc.db.write(credentials.set_disabled, user_id, disabled):
        raise not_found("user")
    if disabled:
        await svc.sessions.end_all(user_id)
    await svc.users.DisableProfile(DisableProfileRequest(user_id=user_id, disabled=disabled))
    log.info("account disabled" if disabled else "account enabled", account=user_id)


async def set_admin(svc: ServiceContext, user_id: int, is_admin: bool) -> None:
    """Gives an account the right to the operators' page, or takes it. NOT_FOUND."""
    if not await svc.db.write(credentials.set_admin, user_id, is_admin):
        raise not_found("user")
    log.info("admin role given" if is_admin else "admin role taken", account=user_id)


async def find_accounts(
    svc: ServiceContext, *, user_id: int, text: str, only_disabled: bool, limit: int, cursor: str
) -> tuple[list[FoundAccount], str]:
    """A page in the order of the usernames, and the cursor of the next one (empty when this is the
    last)."""
    size = page_limit(limit)
    (after,) = read_cursor_as(tuple[Ascii], cursor) or ("",)
    found = await svc.db.read(
        credentials.find,
        user_id=user_id,
        text=text,
        only_disabled=only_disabled,
        after=after,
        limit=size + 1,
    )
    page = found[:size]
    return page, write_cursor(page[-1].username_key) if len(found) > size else ""


async def _add(svc: ServiceContext, new: NewAccount, password_hash: str) -> Account:
    try:
        return await svc.db.write(credentials.add, new, password_hash, now_ms())
    except IntegrityError as error:
        if not is_duplicate_key(error):
            raise
    if await svc.db.read(credentials.has_email, new.email_key or ""):
        raise _taken("email")
    raise _taken("username")


async def _check_unfinished(
    svc: ServiceContext, account: Account, new: NewAccount, password: str
) -> None:
    """Whether the same person goes on: nobody else learns, or guesses at, anything here."""
    if account.has_profile:
        raise _taken("username")
    try:
        await authenticate(svc, new.username, password)
    except AppError as error:
        if error.code is Code.INVALID_CREDENTIALS:
            raise _taken("username") from None
        raise
    refuse_disabled(account)


async def _make_profile(svc: ServiceContext, account: Account) -> bool:
    """Whether this call completed the account; False when another one has.

    Raises:
        AppError: UNAVAILABLE, whatever user-service's trouble is.
    """
    try:
        await svc.users.CreateProfile(
            CreateProfileRequest(
                user_id=account.user_id,
                username=account.username,
                nickname=account.nickname,
                email=account.email,
            )
        )
    except AppError as error:
        log.warning("no profile yet", account=account.user_id, code=error.code.value)
        raise unavailable("the profile could not be made, try again") from error
    return await svc.db.write(credentials.confirm_profile, account.user_id)


async def authenticate(svc: ServiceContext, username: str, password: str) -> Account:
    """The account, when the password is right. A name that is not there takes as long."""
    key = key_of_username(username)
    counted_as, address = username.casefold(), sessions.client_address()
    await svc.guesses.before(counted_as, address)
    account = None
    if key is not None:
        account = await svc.db.read(credentials.by_username, key)
    right = await svc.passwords.check(password, account.password_hash if account else None)
    if account is None or not right:
        await svc.guesses.failed(counted_as, address)
        raise wrong()
    await svc.guesses.succeeded(counted_as)
    return account


async def _open_session(svc: ServiceContext, account: Account, device: Device) -> TokenPair:
    pair = await sessions.open_session(svc, account.user_id, device)
    await confirm(svc, account, pair.session_id)
    return pair


async def confirm(svc: ServiceContext, account: Account, session_id: str) -> Account:
    """The account as it is after a session of it was opened. A change of the password, or an end of the
    account, that went by between the check of the password and that has not seen the session, which
    ends then: INVALID_CREDENTIALS, PERMISSION_DENIED."""
    now = await svc.db.read(credentials.by_id, account.user_id)
    if now is not None and not now.disabled and now.password_hash == account.password_hash:
        return now
    await svc.sessions.end(account.user_id, [session_id])
    if now is not None:
        refuse_disabled(now)
    raise wrong()


def refuse_disabled(account: Account) -> None:
    """PERMISSION_DENIED."""
    if account.disabled:
        raise AppError(Code.PERMISSION_DENIED, "the account is disabled")


def wrong() -> AppError:
    return AppError(Code.INVALID_CREDENTIALS, "the username or the password is wrong")


def _taken(field: str) -> AppError:
    return AppError(Code.ALREADY_EXISTS, f"this {field} is taken", field=field)
