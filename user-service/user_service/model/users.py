"""Table `users`: one row a profile."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    MetaData,
    Select,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    false,
    insert,
    select,
    update,
)

from im_common.sql.db import MYSQL_TABLE, ExactText, ascii_key
from im_common.sql.keys import is_beyond
from im_common.sql.outbox import OutboxTables

MAX_NICKNAME_KEY = 128
# Of who is no more; the username is then `~` and the id, which nobody can register.
DELETED_NICKNAME = "Deleted user"
# ASCII, without space around it.
_USERNAME = re.compile(r"(?! )[\x20-\x7e]{1,32}(?<! )")
# No character comes after it.
_LAST = "\U0010ffff"

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("username", ascii_key(32), nullable=False),
    # Lower case.
    Column("username_key", ascii_key(32), nullable=False),
    Column("nickname", String(64), nullable=False),
    # As nicknames are searched: see nickname_key().
    Column("nickname_key", ExactText(MAX_NICKNAME_KEY), nullable=False),
    Column("email", String(254), nullable=False),
    Column("avatar", String(512), nullable=False),
    Column("gender", SmallInteger, nullable=False),
    Column("signature", String(256), nullable=False),
    # YYYY-MM-DD, or empty.
    Column("birthday", ascii_key(10), nullable=False),
    # A JSON object.
    Column("ext", Text, nullable=False),
    Column("presence_hidden", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("username_key", name="uq_users_username_key"),
    # Of those that a search may show: ranges of names that are all disabled are passed over.
    Index("ix_users_listed_username", "disabled", "username_key"),
    Index("ix_users_listed_nickname", "disabled", "nickname_key", "user_id"),
    **MYSQL_TABLE,
)
_t = users.c

outbox = OutboxTables(metadata)


@dataclass(frozen=True, slots=True)
class User:
    """What everybody may see."""

    user_id: int
    username: str
    nickname: str
    avatar: str
    gender: int
    signature: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What the user sees."""

    user: User
    email: str
    birthday: str
    ext: str
    presence_hidden: bool
    updated_at: int


class Names(NamedTuple):
    """What lists are sorted by."""

    user_id: int
    username: str
    nickname: str


_public = (
    _t.user_id,
    _t.username,
    _t.nickname,
    _t.avatar,
    _t.gender,
    _t.signature,
    _t.created_at,
)
_own = (_t.email, _t.birthday, _t.ext, _t.presence_hidden, _t.updated_at)
# Made once: to make a query costs more than to run this one.
_PROFILES = select(*_public, *_own).where(_t.user_id.in_(bindparam("user_ids", expanding=True)))


def may_be_username(text: str) -> bool:
    """Whether the columns can hold it, and compare it as it is: MySQL takes a space at the end for
    nothing."""
    return _USERNAME.fullmatch(text) is not None


def nickname_key(nickname: str) -> str:
    """Wide and narrow forms, upper and lower case are the same; an accent or an emoji is not.

    Source: Unicode, section 3.13, compatibility caseless matching.
    """
    folded = unicodedata.normalize("NFKC", nickname).casefold()
    return unicodedata.normalize("NFKC", folded)[:MAX_NICKNAME_KEY]


def add(
    connection: Connection,
    *,
    user_id: int,
    username: str,
    nickname: str,
    email: str,
    created_at: int,
) -> None:
    """Raises IntegrityError when the user or the username is there already."""
    connection.execute(
        insert(users).values(
            user_id=user_id,
            username=username,
            username_key=username.lower(),
            nickname=nickname,
            nickname_key=nickname_key(nickname),
            email=email,
            avatar="",
            gender=0,
            signature="",
            birthday="",
            ext="{}",
            presence_hidden=False,
            disabled=False,
            created_at=created_at,
            updated_at=created_at,
        )
    )


def exists(connection: Connection, user_id: int) -> bool:
    return connection.execute(select(_t.user_id).where(_t.user_id == user_id)).first() is not None


def get(connection: Connection, user_ids: Collection[int]) -> list[User]:
    """Those that exist, in the order of their ids."""
    query = select(*_public).where(_t.user_id.in_(user_ids)).order_by(_t.user_id)
    return _users(connection, query)


def names(connection: Connection, user_ids: Collection[int]) -> list[Names]:
    """Of those that exist."""
    query = select(_t.user_id, _t.username, _t.nickname).where(_t.user_id.in_(user_ids))
    return [Names(*row) for row in connection.execute(query)]


def profile(connection: Connection, user_id: int) -> Profile | None:
    return profiles(connection, [user_id])[0]


def lock(connection: Connection, user_id: int) -> User | None:
    """As everybody sees the user, until the end of the transaction."""
    query = select(*_public).where(_t.user_id == user_id).with_for_update()
    found = _users(connection, query)
    return found[0] if found else None


def profiles(connection: Connection, user_ids: Sequence[int]) -> list[Profile | None]:
    """One for each id, in their order."""
    found = {
        row[0]: Profile(User(*row[: len(_public)]), *row[len(_public) :])
        for row in connection.execute(_PROFILES, {"user_ids": {*user_ids}})
    }
    return [found.get(user_id) for user_id in user_ids]


def change(connection: Connection, user_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(users).where(_t.user_id == user_id).values(**values))


def forget(connection: Connection, user_id: int, *, now: int) -> None:
    """Makes it nobody's."""
    username = f"~{user_id}"
    nobody = {
        "username": username,
        "username_key": username,
        "nickname": DELETED_NICKNAME,
        "nickname_key": nickname_key(DELETED_NICKNAME),
        "email": "",
        "avatar": "",
        "gender": 0,
        "signature": "",
        "birthday": "",
        "ext": "{}",
        "presence_hidden": True,
        "disabled": True,
        "updated_at": now,
    }
    change(connection, user_id, nobody)


def id_of_username(connection: Connection, username: str) -> int | None:
    """Whoever writes it, in upper or lower case; None also for what no username can be."""
    if not may_be_username(username):
        return None
    username_key = username.lower()
    query = select(_t.user_id).where(_t.username_key == username_key)
    row = connection.execute(query).first()
    return row[0] if row else None


def set_disabled(connection: Connection, user_id: int, disabled: bool, now: int) -> None:
    """But of one that is nobody's any more."""
    whose = (_t.user_id == user_id, _t.username != f"~{user_id}")
    connection.execute(update(users).where(*whose).values(disabled=disabled, updated_at=now))


def listed(connection: Connection, user_ids: Sequence[int]) -> list[User]:
    """Those that a search may show, in the order of ``user_ids``."""
    if not user_ids:
        return []
    found = _users(connection, _listed(()).where(_t.user_id.in_(user_ids)))
    return sorted(found, key=lambda user: user_ids.index(user.user_id))


def enabled(connection: Connection, user_ids: Collection[int]) -> list[int]:
    """Those that exist and are not disabled."""
    query = select(_t.user_id).where(_t.user_id.in_(user_ids), _t.disabled.is_(False))
    return [row[0] for row in connection.execute(query)]


def hidden(connection: Connection, user_ids: Collection[int]) -> set[int]:
    """Those that hide their presence."""
    query = select(_t.user_id).where(_t.user_id.in_(user_ids), _t.presence_hidden.is_(True))
    return {row[0] for row in connection.execute(query)}


def by_username_prefix(
    connection: Connection,
    prefix: str,
    *,
    after: str,
    without: Collection[int],
    limit: int,
) -> list[User]:
    """In the order of the username keys, those above ``after``."""
    query = (
        _listed(without)
        .where(_starts_with(_t.username_key, prefix, "\x7f"), _t.username_key > after)
        .order_by(_t.username_key)
    )
    return _users(connection, query.limit(limit))


def by_nickname_prefix(
    connection: Connection,
    prefix: str,
    *,
    after: tuple[str, int],
    without: Collection[int],
    without_username_prefix: str | None,
    limit: int,
) -> list[User]:
    """In the order of (nickname key, id), those above ``after``."""
    query = _listed(without).where(
        _starts_with(_t.nickname_key, prefix, _LAST),
        is_beyond((_t.nickname_key, _t.user_id), after),
    )
    if without_username_prefix is not None:
        query = query.where(~_starts_with(_t.username_key, without_username_prefix, "\x7f"))
    query = query.order_by(_t.nickname_key, _t.user_id)
    return _users(connection, query.limit(limit))


def _listed(without: Collection[int]) -> Select[Any]:
    # Not IS FALSE, for which MariaDB and MySQL use no index.
    query = select(*_public).where(_t.disabled == false())
    return query.where(_t.user_id.not_in(without)) if without else query


def _starts_with(column: Column[str], prefix: str, last: str) -> ColumnElement[bool]:
    # A range, not LIKE: it needs no escapes, and both databases use the index for it. Keys are
    # compared by code points.
    return and_(column >= prefix, column < prefix + last)


def _users(connection: Connection, query: Select[Any]) -> list[User]:
    return [User(*row) for row in connection.execute(query)]
