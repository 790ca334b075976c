"""Table `credentials`: one row an account. What a profile is made of stays until there is one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    and_,
    false,
    insert,
    or_,
    select,
    update,
)

from im_common.domain.ids import FIRST_ID
from im_common.sql.db import MYSQL_TABLE, AutoId, ascii_key
from im_common.sql.outbox import OutboxTables

# No password has this hash.
NO_PASSWORD = "!"

metadata = MetaData()
outbox = OutboxTables(metadata)

credentials = Table(
    "credentials",
    metadata,
    Column("user_id", AutoId, primary_key=True, autoincrement=True),
    Column("username", ascii_key(32), nullable=False),
    # Lower case.
    Column("username_key", ascii_key(32), nullable=False),
    Column("nickname", String(64), nullable=False),
    Column("email", String(254), nullable=False),
    # As emails are compared; NULL without one.
    Column("email_key", String(254)),
    Column("password_hash", ascii_key(60), nullable=False),
    Column("disabled", Boolean, nullable=False),
    # Whether user-service has confirmed the profile.
    Column("has_profile", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Whether the operators' page lets its owner in.
    Column("is_admin", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("username_key", name="uq_credentials_username_key"),
    UniqueConstraint("email_key", name="uq_credentials_email_key"),
    sqlite_autoincrement=True,
    mysql_auto_increment=str(FIRST_ID),
    **MYSQL_TABLE,
)
_t = credentials.c


@dataclass(frozen=True, slots=True)
class Account:
    user_id: int
    username: str
    nickname: str
    email: str
    password_hash: str
    disabled: bool
    has_profile: bool
    is_admin: bool = False

    @property
    def deleted(self) -> bool:
        """Whether it is nobody's any more."""
        return self.password_hash == NO_PASSWORD


_account = select(
    _t.user_id,
    _t.username,
    _t.nickname,
    _t.email,
    _t.password_hash,
    _t.disabled,
    _t.has_profile,
    _t.is_admin,
)


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account as an operator sees it."""

    account: Account
    username_key: str
    created_at: int


@dataclass(frozen=True, slots=True)
class NewAccount:
    username: str
    username_key: str
    nickname: str
    email: str
    email_key: str | None


def add(connection: Connection, new: NewAccount, password_hash: str, created_at: int) -> Account:
    """Raises IntegrityError when the username or the email is taken."""
    result = connection.execute(
        insert(credentials).values(
            username=new.username,
            username_key=new.username_key,
            nickname=new.nickname,
            email=new.email,
            email_key=new.email_key,
            password_hash=password_hash,
            disabled=False,
            has_profile=False,
            created_at=created_at,
        )
    )
    (user_id,) = result.inserted_primary_key or (0,)
    return Account(
        user_id=user_id,
        username=new.username,
        nickname=new.nickname,
        email=new.email,
        password_hash=password_hash,
        disabled=False,
        has_profile=False,
    )


def by_username(connection: Connection, username_key: str) -> Account | None:
    row = connection.execute(_account.where(_t.username_key == username_key)).first()
    return Account(*row) if row else None


def by_id(connection: Connection, user_id: int) -> Account | None:
    row = connection.execute(_account.where(_t.user_id == user_id)).first()
    return Account(*row) if row else None


def find(
    connection: Connection,
    *,
    user_id: int,
    text: str,
    only_disabled: bool,
    after: str,
    limit: int,
) -> list[FoundAccount]:
    """In the order of the username keys, those above ``after``; ``user_id`` 0 and an empty ``text``
    leave nobody out."""
    query = _account.add_columns(_t.username_key, _t.created_at).where(_t.username_key > after)
    if user_id:
        query = query.where(_t.user_id == user_id)
    if text:
        key = text.lower()
        named = _t.email_key == key
        # The column compares with nothing but ASCII.
        if key.isascii() and key.isprintable():
            named = or_(named, and_(_t.username_key >= key, _t.username_key < key + "\x7f"))
        query = query.where(named)
    if only_disabled:
        query = query.where(_t.disabled.is_(True))
    rows = connection.execute(query.order_by(_t.username_key).limit(limit))
    return [FoundAccount(Account(*row[:-2]), row[-2], row[-1]) for row in rows]


def has_email(connection: Connection, email_key: str) -> bool:
    query = select(_t.user_id).where(_t.email_key == email_key)
    return connection.execute(query).first() is not None


def confirm_profile(connection: Connection, user_id: int) -> bool:
    """Whether this call was the one that confirmed it."""
    result = connection.execute(
        update(credentials)
        .where(_t.user_id == user_id, _t.has_profile.is_(False))
        .values(has_profile=True)
    )
    return result.rowcount == 1


def replace_password(connection: Connection, user_id: int, *, old_hash: str, new_hash: str) -> bool:
    """False when the password is no longer the old one."""
    result = connection.execute(
        update(credentials)
        .where(_t.user_id == user_id, _t.password_hash == old_hash)
        .values(password_hash=new_hash)
    )
    return result.rowcount == 1


def forget(connection: Connection, user_id: int, *, old_hash: str) -> bool:
    """Takes name, email and password away; the id is never another's. False when the password is no
    longer the old one."""
    result = connection.execute(
        update(credentials)
        .where(_t.user_id == user_id, _t.password_hash == old_hash)
        .values(
            username=f"~{user_id}",
            username_key=f"~{user_id}",
            nickname="",
            email="",
            email_key=None,
            password_hash=NO_PASSWORD,
            is_admin=False,
        )
    )
    return result.rowcount == 1


def set_disabled(connection: Connection, user_id: int, disabled: bool) -> bool:
    """False when there is no such account, or it was deleted."""
    return _set(connection, user_id, disabled=disabled)


def set_admin(connection: Connection, user_id: int, is_admin: bool) -> bool:
    """False when there is no such account, or it was deleted."""
    return _set(connection, user_id, is_admin=is_admin)


def _set(connection: Connection, user_id: int, **columns: bool) -> bool:
    account = by_id(connection, user_id)
    if account is None or account.deleted:
        return False
    alive = (_t.user_id == user_id, _t.password_hash != NO_PASSWORD)
    connection.execute(update(credentials).where(*alive).values(columns))
    return True
