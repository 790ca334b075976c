"""Lists of friends.

They are in the order of remarks and nicknames, and nicknames are user-service's: so the first page
takes the names of all friends, sorts, and keeps the order in Redis. The next pages go on in that order,
whatever is renamed in between; each friend is shown once, with the name of now. A page is short by who
was deleted in between. Without the kept order (it expires, or Redis lost it) a page goes on after the
name where the one before ended.
"""

from __future__ import annotations

import asyncio
import bisect
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec

from friend_service.logic.changes import LEASE_MS, Between, between
from friend_service.logic.people import Person, names_by_id, people_by_id, presence_by_id
from friend_service.model import friendships, relations
from friend_service.model.friendships import Friendship
from friend_service.model.tables import MAX_REMARK
from friend_service.svc import ServiceContext
from im.user.v1.user_pb2 import Presence
from im_common.domain.names import clean_text
from im_common.domain.paging import Int64, page_limit, read_cursor_as, write_cursor
from im_common.errors import AppError, Code

# Of a name, in the cursor.
_MAX_KEY = 64


@dataclass(frozen=True, slots=True)
class Friend:
    """As a user sees one."""

    friendship: Friendship
    person: Person
    presence: Presence


class Cursor(NamedTuple):
    """Where a page ended: in which order and how far, and the name and id of the last one."""

    order_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    position: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    key: str
    user_id: Int64


async def list_friends(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[Friend], str]:
    """A page, by remark or nickname, and the cursor of the next one (empty when this is the last)."""
    size = page_limit(limit)
    after = read_cursor_as(Cursor, cursor)
    order_id, position, found = await _slice(svc, user_id, after, size + 1)
    shown = found[:size]
    rows = await svc.db.read(friendships.of_user, user_id, shown) if shown else []
    by_id = {row.friend_id: row for row in rows}
    page = [by_id[friend_id] for friend_id in shown if friend_id in by_id]
    ids = [row.friend_id for row in page]
    people, presences = await asyncio.gather(people_by_id(svc, ids), presence_by_id(svc, ids))
    friends = [
        Friend(row, people[row.friend_id], presences.get(row.friend_id, Presence())) for row in page
    ]
    if not found[size:]:
        return friends, ""
    last = _last(friends, after)
    return friends, write_cursor(order_id, position + len(shown), *last)


async def set_remark(svc: ServiceContext, user_id: int, friend_id: int, remark: str) -> None:
    """The user's own name for a friend. INVALID_ARGUMENT, NOT_FRIENDS."""
    remark = clean_text("remark", remark, most=MAX_REMARK)
    if not await _are_friends(svc, user_id, friend_id):
        raise _not_friends()

    def rename(pair: Between) -> None:
        if not friendships.are_friends(pair.connection, user_id, friend_id):
            raise _not_friends()
        friendships.set_remark(pair.connection, user_id, friend_id, remark)
        relations.bump(pair.connection, [user_id])

    await between(svc, user_id, friend_id, rename)


async def delete_friend(svc: ServiceContext, user_id: int, friend_id: int) -> None:
    """Ends a friendship on both sides; nothing happens when there is none."""
    if await _are_friends(svc, user_id, friend_id):
        await between(svc, user_id, friend_id, lambda pair: pair.end_friendship(user_id, friend_id))
    # Who was told "friends" just before may still rely on it.
    await asyncio.sleep(LEASE_MS / 1000)


async def _are_friends(svc: ServiceContext, user_id: int, friend_id: int) -> bool:
    return await svc.db.read(friendships.are_friends, user_id, friend_id)


def _not_friends() -> AppError:
    return AppError(Code.NOT_FRIENDS, "you are not friends")


class _Place(NamedTuple):
    """In the order."""

    key: str
    user_id: int


async def _slice(
    svc: ServiceContext, user_id: int, after: Cursor | None, count: int
) -> tuple[str, int, Sequence[int]]:
    """The order's id, a position in it and the ids of ``count`` friends from there."""
    if after is not None:
        kept = await svc.orders.slice(user_id, after.order_id, after.position, count)
        if kept is not None:
            return after.order_id, after.position, kept
    version = await svc.db.read(relations.version, user_id)
    if after is None:
        order_id = await svc.orders.newest(user_id, version)
        kept = await svc.orders.slice(user_id, order_id, 0, count) if order_id else None
        if kept is not None:
            return order_id, 0, kept
    places = await _sorted(svc, user_id)
    ids = [place.user_id for place in places]
    order_id = await svc.orders.keep(user_id, version, ids)
    position = 0 if after is None else bisect.bisect_right(places, (after.key, after.user_id))
    return order_id, position, ids[position : position + count]


async def _sorted(svc: ServiceContext, user_id: int) -> list[_Place]:
    rows = await svc.db.read(friendships.of_user, user_id)
    # Those with a remark need no other name.
    names = await names_by_id(svc, [row.friend_id for row in rows if not row.remark])
    return sorted(_place(row, names.get(row.friend_id, "")) for row in rows)


def _last(friends: Sequence[Friend], after: Cursor | None) -> _Place:
    """Where a page ends; where it began when all of its friends were deleted."""
    if friends:
        person = friends[-1].person
        return _place(friends[-1].friendship, person.nickname or person.username)
    return _Place(after.key, after.user_id) if after is not None else _Place("", 0)


def _place(row: Friendship, name: str) -> _Place:
    # As nicknames are searched: wide and narrow forms, upper and lower case are the same.
    text = unicodedata.normalize("NFKC", row.remark or name).casefold()
    return _Place(text[:_MAX_KEY], row.friend_id)
