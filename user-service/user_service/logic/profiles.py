"""Profiles: one's own and those of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from im_common.domain.call_limits import MOST_CHECKED
from im_common.domain.ids import now_ms
from im_common.domain.names import MAX_EMAIL, MAX_NICKNAME, clean_text
from im_common.errors import AppError, Code, invalid, not_found
from im_common.sql.contention import transact
from im_common.sql.db import is_duplicate_key
from im_common.sql.outbox import Change
from user_service.logic.presence import tell_hiding
from user_service.logic.profile_fields import columns
from user_service.logic.profile_news import FRIENDS_SEE, friends_to_tell, tell_profile
from user_service.model import users
from user_service.model.users import Names, Profile, User
from user_service.svc import ServiceContext

MOST_USERS = 100


async def get_user(svc: ServiceContext, user_id: int) -> User:
    """NOT_FOUND when there is none."""
    found = await svc.db.read(users.get, [user_id])
    if not found:
        raise not_found("user")
    return found[0]


async def batch_get_users(svc: ServiceContext, user_ids: Sequence[int]) -> list[User]:
    """Those that exist, in the order asked for, each once."""
    if len(user_ids) > MOST_USERS:
        raise invalid("user_ids", f"may be at most {MOST_USERS}")
    if not user_ids:
        return []
    found = {user.user_id: user for user in await svc.db.read(users.get, set(user_ids))}
    return [found[user_id] for user_id in dict.fromkeys(user_ids) if user_id in found]


async def get_names(svc: ServiceContext, user_ids: Sequence[int]) -> list[Names]:
    """Of those that exist, whole lists of friends at once."""
    if len(user_ids) > MOST_CHECKED:
        raise invalid("user_ids", f"may be at most {MOST_CHECKED}")
    if not user_ids:
        return []
    return await svc.db.read(users.names, set(user_ids))


async def get_profile(svc: ServiceContext, user_id: int) -> Profile:
    found = await svc.profiles(user_id)
    if found is None:
        raise not_found("user")
    return found


async def update_profile(
    svc: ServiceContext, user_id: int, fields: Iterable[str], values: Mapping[str, Any]
) -> Profile:
    """Sets the named fields; the others stay. INVALID_ARGUMENT, NOT_FOUND."""
    changes = columns(fields, values)
    news = {name: changes[name] for name in FRIENDS_SEE if name in changes}
    told = [user_id, *await friends_to_tell(svc, user_id)] if news else []

    def write(change: Change) -> Profile | None:
        connection = change.connection
        before = users.lock(connection, user_id) if news else None
        if changes:
            users.change(connection, user_id, changes | {"updated_at": now_ms()})
        if before is not None:
            tell_profile(change, told, before, news)
        return users.profile(connection, user_id)

    found = await transact(svc.outbox.write, write)
    if found is None:
        raise not_found("user")
    if "presence_hidden" in changes:
        await tell_hiding(svc, user_id, hides=found.presence_hidden)
    return found


async def create_profile(
    svc: ServiceContext, *, user_id: int, username: str, nickname: str, email: str
) -> None:
    """A second call for the same user changes nothing. ALREADY_EXISTS when another has the name."""
    if user_id <= 0 or not username:
        raise invalid("user_id", "and username must be given")
    # auth-service has its own, stricter rules for names; this is what the columns can hold.
    if not users.may_be_username(username):
        raise invalid("username", "must be at most 32 of ASCII, without space around it")
    email = clean_text("email", email, most=MAX_EMAIL)
    nickname = clean_text("nickname", nickname, most=MAX_NICKNAME) or username

    def add(connection: Connection) -> None:
        if not users.exists(connection, user_id):
            users.add(
                connection,
                user_id=user_id,
                username=username,
                nickname=nickname,
                email=email,
                created_at=now_ms(),
            )

    try:
        await svc.db.write(add)
    except IntegrityError as error:
        if not is_duplicate_key(error):
            raise
        await _check_twin(svc, user_id)


async def delete_profile(svc: ServiceContext, user_id: int) -> None:
    """Leaves nothing of the user but the id, for what they wrote. The name is free; nobody finds the
    user, or can write to them. Again, or without a profile, nothing happens."""

    def forget(connection: Connection) -> None:
        if users.exists(connection, user_id):
            users.forget(connection, user_id, now=now_ms())

    await svc.db.write(forget)


async def disable_profile(svc: ServiceContext, user_id: int, disabled: bool) -> None:
    """Keeps others from finding the user and writing to them, or no longer. Without a profile, or when
    it is nobody's any more, nothing happens."""
    await svc.db.write(users.set_disabled, user_id, disabled, now_ms())


async def check_users(svc: ServiceContext, user_ids: Sequence[int]) -> list[int]:
    """Those that exist and are not disabled."""
    if len(user_ids) > MOST_CHECKED:
        raise invalid("user_ids", f"may be at most {MOST_CHECKED}")
    if not user_ids:
        return []
    return await svc.db.read(users.enabled, set(user_ids))


async def _check_twin(svc: ServiceContext, user_id: int) -> None:
    """After a conflict: fine when the same call was made twice at once."""
    if not await svc.db.read(users.exists, user_id):
        raise AppError(Code.ALREADY_EXISTS, "this username is taken", field="username")
