"""SearchUsers: the exact username, the id, then prefixes of usernames, then of nicknames.

A page ends in one of two lists, each in the order of its key; the cursor says in which, and where.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from im_common.domain.ids import read_id
from im_common.domain.names import MAX_NICKNAME, clean_text
from im_common.domain.paging import Int64, bad_cursor, page_limit, read_cursor_as, write_cursor
from user_service.model import users
from user_service.model.users import User, nickname_key
from user_service.svc import ServiceContext

DEFAULT_LIMIT = 20
_USERNAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_BY_USERNAME: Literal[0] = 0
_BY_NICKNAME: Literal[1] = 1


class Cursor(NamedTuple):
    """Where a page ended."""

    place: Literal[0, 1]
    key: str
    user_id: Int64


async def search_users(
    svc: ServiceContext, query: str, *, limit: int, cursor: str
) -> tuple[list[User], str]:
    """A page, and the cursor of the next one (empty when this is the last). INVALID_ARGUMENT."""
    text = clean_text("query", query, least=1, most=MAX_NICKNAME)
    size = page_limit(limit, default=DEFAULT_LIMIT)
    after = read_cursor_as(Cursor, cursor)
    if after and after.place == _BY_USERNAME and not _is_username_key(after.key):
        raise bad_cursor()

    def read(connection: Connection) -> list[tuple[User, Cursor]]:
        search = _begin(connection, text)
        found = [] if after else [(user, _HEAD) for user in search.heads]
        return found + search.rest(connection, after or _HEAD, size + 1 - len(found))

    found = await svc.db.read(read)
    page = found[:size]
    more = len(found) > size
    return [user for user, _ in page], write_cursor(*page[-1][1]) if more else ""


# Where the two lists begin.
_HEAD = Cursor(_BY_USERNAME, "", 0)


@dataclass(frozen=True, slots=True)
class _Search:
    # Shown first; nowhere else.
    heads: list[User]
    # None when no username can begin so.
    username_prefix: str | None
    nickname_prefix: str

    def rest(self, connection: Connection, after: Cursor, limit: int) -> list[tuple[User, Cursor]]:
        """At most ``limit`` after the cursor, each with its own."""
        place, key, user_id = after
        found: list[tuple[User, Cursor]] = []
        shown = [user.user_id for user in self.heads]
        if place == _BY_USERNAME:
            if self.username_prefix is not None:
                named = users.by_username_prefix(
                    connection, self.username_prefix, after=key, without=shown, limit=limit
                )
                found = [(u, Cursor(_BY_USERNAME, u.username.lower(), u.user_id)) for u in named]
            key, user_id = "", 0
        if len(found) < limit:
            nicknamed = users.by_nickname_prefix(
                connection,
                self.nickname_prefix,
                after=(key, user_id),
                without=shown,
                without_username_prefix=self.username_prefix,
                limit=limit - len(found),
            )
            found += [
                (u, Cursor(_BY_NICKNAME, nickname_key(u.nickname), u.user_id)) for u in nicknamed
            ]
        return found


def _is_username_key(key: str) -> bool:
    """Or none, where the list begins."""
    return key == "" or (users.may_be_username(key) and key == key.lower())


def _begin(connection: Connection, text: str) -> _Search:
    username = text.lower() if _USERNAME.fullmatch(text) else None
    exact = users.id_of_username(connection, username) if username else None
    wanted = [exact] if exact is not None else []
    user_id = read_id(text)
    if user_id is not None:
        wanted.append(user_id)
    return _Search(users.listed(connection, wanted), username, nickname_key(text))
