"""What friend-service asks of user-service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from friend_service.svc import ServiceContext
from im.user.v1.user_pb2 import (
    CheckUsersRequest,
    GetNamesRequest,
    GetOnlineUsersRequest,
    Presence,
)
from im_common.domain import people
from im_common.domain.call_limits import MOST_CHECKED
from im_common.domain.people import Person
from im_common.errors import AppError, Code
from im_common.runtime.chunks import chunks

__all__ = [
    "Person",
    "check_exists",
    "names_by_id",
    "people_by_id",
    "presence_by_id",
    "somebody",
]


async def check_exists(svc: ServiceContext, user_id: int) -> None:
    """NOT_FOUND when there is no such user, or it is disabled."""
    if not (await svc.users.CheckUsers(CheckUsersRequest(user_ids=[user_id]))).user_ids:
        raise AppError(Code.NOT_FOUND, f"user {user_id} not found", field="user_id")


async def somebody(svc: ServiceContext, user_id: int, *, and_also: int) -> Person:
    """The user. NOT_FOUND when there is no user ``and_also``."""
    found, _ = await asyncio.gather(people_by_id(svc, [user_id]), check_exists(svc, and_also))
    return found[user_id]


async def people_by_id(svc: ServiceContext, user_ids: Sequence[int]) -> dict[int, Person]:
    """At most a page of them; without names who is not there any more."""
    return await people.people_by_id(svc.users, user_ids)


async def names_by_id(svc: ServiceContext, user_ids: Sequence[int]) -> dict[int, str]:
    """The nickname, or else the username, of any number of users."""
    names: dict[int, str] = {}
    for some in chunks(user_ids, MOST_CHECKED):
        for one in (await svc.users.GetNames(GetNamesRequest(user_ids=some))).names:
            names[one.user_id] = one.nickname or one.username
    return names


async def presence_by_id(svc: ServiceContext, user_ids: Sequence[int]) -> dict[int, Presence]:
    """As the caller may see it; of at most a page of users."""
    if not user_ids:
        return {}
    answer = await svc.presence.GetOnlineUsers(GetOnlineUsersRequest(user_ids=user_ids))
    return {presence.user_id: presence for presence in answer.presences}
