"""Tables `groups`, `group_members`, `group_join_requests`, and those of the outbox."""

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
    UniqueConstraint,
)

from im_common.sql.db import MYSQL_TABLE, AutoId, ascii_key
from im_common.sql.outbox import OutboxTables

MAX_NAME = 64
MAX_AVATAR = 512
MAX_DESCRIPTION = 512
MAX_NICKNAME = 64
MAX_MESSAGE = 256
MAX_CREATION_KEY = 64


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


class Status(IntEnum):
    """What became of a request to join."""

    PENDING = 1
    ACCEPTED = 2
    REJECTED = 3


metadata = MetaData()
outbox = OutboxTables(metadata)

groups = Table(
    "groups",
    metadata,
    Column("group_id", AutoId, primary_key=True, autoincrement=True),
    Column("name", String(MAX_NAME), nullable=False),
    Column("avatar", String(MAX_AVATAR), nullable=False),
    Column("announcement", Text, nullable=False),
    Column("owner_id", BigInteger, nullable=False),
    Column("join_policy", SmallInteger, nullable=False),
    Column("muted", Boolean, nullable=False),
    # Rows of group_members; changed together with them, under the lock of this row.
    Column("member_count", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("description", String(MAX_DESCRIPTION), nullable=False, server_default=""),
    # Of the last change that the group's conversation is told of: grows with each.
    Column("changed_at", BigInteger, nullable=False, server_default="0"),
    # 0 for a group that is there. One that is not has no members any more.
    Column("dismissed_at", BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    **MYSQL_TABLE,
)

# Groups by the names that their makers gave the calls; kept for as long as such a call may come again.
group_creations = Table(
    "group_creations",
    metadata,
    Column("creator_id", BigInteger, primary_key=True, autoincrement=False),
    Column("creation_key", ascii_key(MAX_CREATION_KEY), primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
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
    # The member's own name in the group.
    Column("nickname", String(MAX_NICKNAME), nullable=False, server_default=""),
    Index("ix_group_members_page", "user_id", "joined_at", "group_id"),
    Index("ix_group_members_role", "group_id", "role"),
    **MYSQL_TABLE,
)

group_join_requests = Table(
    "group_join_requests",
    metadata,
    Column("request_id", AutoId, primary_key=True, autoincrement=True),
    Column("group_id", BigInteger, nullable=False),
    Column("user_id", BigInteger, nullable=False),
    Column("message", String(MAX_MESSAGE), nullable=False),
    Column("status", SmallInteger, nullable=False),
    # The user while it is pending, else NULL: so a user has one such request at most in a group.
    Column("pending_user_id", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("group_id", "pending_user_id", name="uq_group_join_requests_pending"),
    Index("ix_group_join_requests_page", "group_id", "status", "request_id"),
    Index("ix_group_join_requests_user", "pending_user_id"),
    sqlite_autoincrement=True,
    **MYSQL_TABLE,
)
