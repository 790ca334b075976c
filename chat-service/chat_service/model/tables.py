"""The tables. A message is stored once, however many members its conversation has."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    UniqueConstraint,
)

from chat_service.model import content
from im_common.domain.file_ids import MAX_FILE_ID
from im_common.sql.db import MYSQL_TABLE, ascii_key

metadata = MetaData()

SINGLE, GROUP = 1, 2
NORMAL, RECALLED = 0, 1

conversations = Table(
    "conversations",
    metadata,
    Column("conversation_id", ascii_key(64), primary_key=True),
    Column("type", SmallInteger, nullable=False),
    Column("group_id", BigInteger),
    # The seq of the last message that changed who is a member of the group; 0 before. An upsert sets it
    # by the `last_seq` of before, so it comes first here: MySQL sets columns one after the other.
    Column("roster_seq", BigInteger, nullable=False, server_default="0"),
    # The seq of the newest message: 1, 2, 3, … without a gap, but for `skipped`.
    Column("last_seq", BigInteger, nullable=False),
    Column("last_message_id", ascii_key(36), nullable=False),
    Column("last_message_at", BigInteger, nullable=False),
    # Messages up to here were removed because of their age.
    Column("expired_seq", BigInteger, nullable=False, server_default="0"),
    # When a backup was put back (deploy/backup) so many places up to this one were left out: what they
    # were given to after the backup is lost, and nothing else is to have them.
    Column("skipped", BigInteger, nullable=False, server_default="0"),
    Column("skipped_seq", BigInteger, nullable=False, server_default="0"),
    **MYSQL_TABLE,
)

messages = Table(
    "messages",
    metadata,
    Column("conversation_id", ascii_key(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", ascii_key(36), nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    *content.columns(),
    Column("status", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("message_id", name="uq_messages_message_id"),
    UniqueConstraint("sender_id", "client_msg_id", name="uq_messages_client_msg_id"),
    **MYSQL_TABLE,
)

conversation_members = Table(
    "conversation_members",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("conversation_id", ascii_key(64), primary_key=True),
    Column("read_seq", BigInteger, nullable=False),
    Column("delivered_seq", BigInteger, nullable=False),
    # Messages up to here are hidden from this member.
    Column("min_seq", BigInteger, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("muted", Boolean, nullable=False),
    # The last message before the member left the group; NULL for a member.
    Column("left_seq", BigInteger),
    # Time of the group change that was last taken into account, in Unix milliseconds.
    Column("changed_at", BigInteger, nullable=False, server_default="0"),
    Index("ix_conversation_members_conversation", "conversation_id"),
    **MYSQL_TABLE,
)

# What a member has deleted for itself alone. With user_id 0: what was taken back for everybody, so that
# unread messages are counted without looking at them.
EVERYBODY = 0
deleted_messages = Table(
    "deleted_messages",
    metadata,
    Column("conversation_id", ascii_key(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_deleted_messages_user", "user_id", "conversation_id", "seq"),
    **MYSQL_TABLE,
)

# Whom a message mentions. With user_id 0: all members of the group, however many.
mentions = Table(
    "mentions",
    metadata,
    Column("conversation_id", ascii_key(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_mentions_user", "user_id", "conversation_id", "seq"),
    **MYSQL_TABLE,
)

# A file that somebody uploaded, or is uploading; its bytes are elsewhere.
files = Table(
    "files",
    metadata,
    Column("file_id", ascii_key(MAX_FILE_ID), primary_key=True),
    Column("owner_id", BigInteger, nullable=False),
    # NULL until all bytes are there.
    Column("size", BigInteger),
    Column("content_type", ascii_key(128), nullable=False),
    # Of a picture; 0 for what is none.
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    # Bytes; 0 for none.
    Column("thumbnail_size", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # When it is to be looked whether something uses it; NULL for never, as something does.
    Column("look_at", BigInteger),
    # Nothing used it when that was looked at last: nothing may begin to, and the next look is the end.
    Column("is_ending", Boolean, nullable=False),
    Index("ix_files_look_at", "look_at"),
    **MYSQL_TABLE,
)

# The messages that name a file: who sees one of them sees the file.
file_uses = Table(
    "file_uses",
    metadata,
    Column("file_id", ascii_key(MAX_FILE_ID), primary_key=True),
    Column("conversation_id", ascii_key(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_file_uses_message", "conversation_id", "seq"),
    **MYSQL_TABLE,
)

# The files that are pictures of users and groups: everybody who is logged in sees them.
file_avatars = Table(
    "file_avatars",
    metadata,
    Column("file_id", ascii_key(MAX_FILE_ID), primary_key=True),
    # u:{user_id} or g:{group_id}.
    Column("holder", ascii_key(32), primary_key=True),
    # Unix milliseconds.
    Column("since", BigInteger, nullable=False),
    Index("ix_file_avatars_holder", "holder", "since"),
    **MYSQL_TABLE,
)
