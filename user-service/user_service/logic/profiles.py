"""Profiles: one's own and those of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError

from im_common.domain.ids import now_ms
from im_common.domain.names import MAX_NICKNAME, clean_text
from im_common.errors import AppError, Code, invalid, not_found
from im_common.sql.db import is_duplicate_key
from user_service.logic.profile_fields import columns
from user_service.model import users
from user_service.model.users import Names, Profile, User
from user_service.svc import ServiceContext

MOST_USERS = 100
MOST_CHECKED = 10_000


async def get_user(svc: ServiceContext, user_id: int) -> User:
    """NOT_FOUND when there is none."""
    async with svc.db.read() as connection:
        found = await users.get(connection, [user_id])
    if not found:
        raise not_found("user")
    return found[0]


async def batch_get_users(svc: ServiceContext, user_ids: Sequence[int]) -> list[User]:
    """Those that exist, in the order asked for, each once."""
    if len(user_ids) > MOST_USERS:
        raise invalid("user_ids", f"may be at most {MOST_USERS}")
    if not user_ids:
        return []
    async with svc.db.read() as connection:
        found = {user.user_id: user for user in await users.get(connection, set(user_ids))}
    return [found[user_id] for user_id in dict.fromkeys(user_ids) if user_id in found]


async def get_names(svc: ServiceContext, user_ids: Sequence[int]) -> list[Names]:
    """Of those that exist, whole lists of friends at once."""
    if len(user_ids) > MOST_CHECKED:
        raise invalid("user_ids", f"may be at most {MOST_CHECKED}")
    if not user_ids:
        return []
    async with svc.db.read() as connection:
        return await users.names(connection, set(user_ids))


async def get_profile(svc: ServiceContext, user_id: int) -> Profile:
    async with svc.db.read() as connection:
        found = await users.profile(connection, user_id)
    if found is None:
        raise not_found("user")
    return found


async def update_profile(
    svc: ServiceContext, user_id: int, fields: Iterable[str], values: Mapping[str, Any]
) -> Profile:
    """Sets the named fields; the others stay. INVALID_ARGUMENT, NOT_FOUND."""
    changes = columns(fields, values)
    async with svc.db.write() as connection:
        if changes:
            await users.change(connection, user_id, changes | {"updated_at": now_ms()})
        found = await users.profile(connection, user_id)
    if found is None:
        raise not_found("user")
    return found


async def create_profile(
    svc: ServiceContext, *, user_id: int, username: str, nickname: str, email: str
) -> None:
    """A second call for the same user changes nothing. ALREADY_EXISTS when another has the name."""
    if user_id <= 0 or not username:
        raise invalid("user_id", "and username must be given")
    nickname = clean_text("nickname", nickname, most=MAX_NICKNAME) or username
    try:
        async with svc.db.write() as connection:
            if await users.exists(connection, user_id):
                return
            await users.add(
                connection,
                user_id=user_id,
                username=username,
                nickname=nickname,
                email=email,
                created_at=now_ms(),
            )
    except IntegrityError as error:
        if not is_duplicate_key(error):
            raise
        await _check_twin(svc, user_id)


async def check_users(svc: ServiceContext, user_ids: Sequence[int]) -> list[int]:
    """Those that exist and are not disabled."""
    if len(user_ids) > MOST_CHECKED:
        raise invalid("user_ids", f"may be at most {MOST_CHECKED}")
    if not user_ids:
        return []
    async with svc.db.read() as connection:
        return await users.enabled(connection, set(user_ids))


async def _check_twin(svc: ServiceContext, user_id: int) -> None:
    """After a conflict: fine when the same call was made twice at once."""
    async with svc.db.read() as connection:
        if not await users.exists(connection, user_id):
            raise AppError(Code.ALREADY_EXISTS, "this username is taken", field="username")
