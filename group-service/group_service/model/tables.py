"""Tables `groups` and `group_members`."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from im_common.sql.db import MYSQL_TABLE, AutoId


class JoinPolicy(IntEnum):
    """How one becomes a member; the numbers are those of the proto."""

    OPEN = 1
    APPROVAL = 2
    INVITE_ONLY = 3


class Role(IntEnum):
    """What a member may do; the numbers are those of the proto, and a higher one may do more."""

    MEMBER = 1
    ADMIN = 2
    OWNER = 3


metadata = MetaData()

groups = Table(
    "groups",
    metadata,
    Column("group_id", AutoId, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("avatar", String(512), nullable=False),
    Column("announcement", Text, nullable=False),
    Column("owner_id", BigInteger, nullable=False),
    Column("join_policy", SmallInteger, nullable=False),
    Column("muted", Boolean, nullable=False),
    # Rows of group_members; changed together with them, under the lock of this row.
    Column("member_count", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
    **MYSQL_TABLE,
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("role", SmallInteger, nullable=False),
    Column("muted_until", BigInteger, nullable=False),
    Column("joined_at", BigInteger, nullable=False),
    Index("ix_group_members_page", "user_id", "joined_at", "group_id"),
    **MYSQL_TABLE,
)
