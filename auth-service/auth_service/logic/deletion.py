"""The end of an account.

One transaction takes the name, the email and the password away and notes what is left to do; with that
nobody logs in any more. The rest is done from the note, by whichever instance: each step may be
repeated, and is until all have been done. They are done once more a moment later, for what a request
that was let in before its session ended has made meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection

from auth_service.logic import sessions
from auth_service.logic.accounts import authenticate, wrong
from auth_service.model import credentials, deletions
from auth_service.model.credentials import Account
from auth_service.svc import ServiceContext
from im.friend.v1.friend_pb2 import ForgetUserRequest as ForgetFriendsRequest
from im.group.v1.group_pb2 import ForgetUserRequest as ForgetGroupsRequest
from im.user.v1.user_pb2 import DeleteProfileRequest
from im_common.domain.ids import now_ms
from im_common.errors import not_found
from im_common.runtime.context import Identity
from im_common.runtime.faults import report

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
# Longer than anybody believes in a session that has ended.
AGAIN_AFTER_MS = 5_000
AT_ONCE = 100


async def delete_account(svc: ServiceContext, identity: Identity, password: str) -> None:
    """Ends the account and its sessions; the rest follows.

    Raises:
        AppError: INVALID_CREDENTIALS, ACCOUNT_LOCKED, UNAVAILABLE.
    """
    account = await svc.db.read(credentials.by_id, identity.user_id)
    if account is None:
        raise wrong()
    account = await authenticate(svc, account.username, password)
    if not await _delete(svc, account):
        raise wrong()


async def remove_account(svc: ServiceContext, user_id: int) -> None:
    """As ``delete_account``, for an operator, who knows no password.

    Raises:
        AppError: NOT_FOUND, also when it was deleted before; UNAVAILABLE.
    """
    while True:
        account = await svc.db.read(credentials.by_id, user_id)
        if account is None or account.deleted:
            raise not_found("user")
        # Else the password was changed in between.
        if await _delete(svc, account):
            return


async def _delete(svc: ServiceContext, account: Account) -> bool:
    """False when the account is not as it was any more."""

    def delete(connection: Connection) -> bool:
        if not credentials.forget(connection, account.user_id, old_hash=account.password_hash):
            return False
        deletions.add(connection, account.user_id, now_ms())
        return True

    if not await svc.db.write(delete):
        return False
    log.info("account deleted", account=account.user_id)
    svc.has_deletions.set()
    await _end_sessions(svc, account.user_id)
    return True


async def run(svc: ServiceContext) -> None:
    """Finishes what was begun, here or by an instance that is no more. Does not return."""
    while True:
        svc.has_deletions.clear()
        try:
            for user_id, since in await svc.db.read(deletions.some, limit=AT_ONCE):
                await _finish(svc, user_id, since)
        except Exception as error:
            report(error, "deleted accounts are not looked for")
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await svc.has_deletions.wait()


async def _finish(svc: ServiceContext, user_id: int, since: int) -> None:
    is_last_time = now_ms() >= since + AGAIN_AFTER_MS
    try:
        await _end_sessions(svc, user_id)
        # First, for with that nobody asks, invites or writes to the user any more.
        await svc.users.DeleteProfile(DeleteProfileRequest(user_id=user_id))
        await _until_done(svc.friends.ForgetUser, ForgetFriendsRequest(user_id=user_id))
        await _until_done(svc.groups.ForgetUser, ForgetGroupsRequest(user_id=user_id))
    except Exception as error:
        report(error, "an account is not forgotten yet", account=user_id)
        return
    if is_last_time:
        await svc.db.write(deletions.remove, user_id)


async def _end_sessions(svc: ServiceContext, user_id: int) -> None:
    ended = await svc.sessions.end_all(user_id)
    await sessions.tell_revoked(svc, user_id, ended)


async def _until_done(forget: Callable[[Any], Awaitable[Any]], request: Any) -> None:
    while not (await forget(request)).done:
        pass
