"""Tables `relations`, `blocked_users`, `friendships`, `friend_requests`, and those of the outbox."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from im_common.sql.db import MYSQL_TABLE, AutoId
from im_common.sql.outbox import OutboxTables

MAX_MESSAGE = 256
MAX_REMARK = 64


class Status(IntEnum):
    """What became of a friend request. One that is too old is still PENDING until somebody asks
    again."""

    PENDING = 1
    ACCEPTED = 2
    REJECTED = 3
    CANCELLED = 4
    EXPIRED = 5


metadata = MetaData()
outbox = OutboxTables(metadata)

# A row for each user who ever had to do with another one: who changes what is between two users locks
# the rows of both first. `version` counts the changes of the user's list of friends.
relations = Table(
    "relations",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    **MYSQL_TABLE,
)

# user_id has blocked blocked_id.
blocked_users = Table(
    "blocked_users",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("blocked_id", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_blocked_users_page", "user_id", "created_at", "blocked_id"),
    **MYSQL_TABLE,
)

# Two rows a friendship, one for each of the two.
friendships = Table(
    "friendships",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("friend_id", BigInteger, primary_key=True, autoincrement=False),
    # The user's own name for the friend.
    Column("remark", String(MAX_REMARK), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    **MYSQL_TABLE,
)

friend_requests = Table(
    "friend_requests",
    metadata,
    Column("request_id", AutoId, primary_key=True, autoincrement=True),
    Column("from_user_id", BigInteger, nullable=False),
    Column("to_user_id", BigInteger, nullable=False),
    Column("message", String(MAX_MESSAGE), nullable=False),
    Column("status", SmallInteger, nullable=False),
    # The two users while it is pending, else NULL: so a pair has one such request at most.
    Column("pending_low", BigInteger, nullable=True),
    Column("pending_high", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("pending_low", "pending_high", name="uq_friend_requests_pending"),
    Index("ix_friend_requests_in", "to_user_id", "status", "created_at", "request_id"),
    Index("ix_friend_requests_out", "from_user_id", "status", "created_at", "request_id"),
    sqlite_autoincrement=True,
    **MYSQL_TABLE,
)
