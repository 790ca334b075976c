"""Conversations, messages, members."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("conversation_id", ascii_key(64), primary_key=True),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("group_id", sa.BigInteger),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("last_message_id", ascii_key(36), nullable=False),
        sa.Column("last_message_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_table(
        "messages",
        sa.Column("conversation_id", ascii_key(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("message_id", ascii_key(36), nullable=False),
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("client_msg_id", sa.String(64), nullable=False),
        sa.Column("content_type", ascii_key(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("reply_to", ascii_key(36)),
        sa.Column("mentions", sa.Text),
        sa.Column("ext", sa.Text),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("message_id", name="uq_messages_message_id"),
        sa.UniqueConstraint("sender_id", "client_msg_id", name="uq_messages_client_msg_id"),
        **MYSQL_TABLE,
    )
    op.create_table(
        "conversation_members",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("conversation_id", ascii_key(64), primary_key=True),
        sa.Column("read_seq", sa.BigInteger, nullable=False),
        sa.Column("delivered_seq", sa.BigInteger, nullable=False),
        sa.Column("min_seq", sa.BigInteger, nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("muted", sa.Boolean, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_index(
        "ix_conversation_members_conversation", "conversation_members", ["conversation_id"]
    )


def downgrade() -> None:
    for table in ("conversation_members", "messages", "conversations"):
        op.drop_table(table)
