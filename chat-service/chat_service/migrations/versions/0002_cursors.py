"""Who left a group, what was removed by age, what a member deleted for itself."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "conversations",
        sa.Column("expired_seq", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.add_column("conversation_members", sa.Column("left_seq", sa.BigInteger))
    op.add_column(
        "conversation_members",
        sa.Column("changed_at", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "deleted_messages",
        sa.Column("conversation_id", ascii_key(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("deleted_messages")
    for column in ("changed_at", "left_seq"):
        op.drop_column("conversation_members", column)
    op.drop_column("conversations", "expired_seq")
