"""Which messages name a file. What was written before names none."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "file_uses",
        sa.Column("file_id", ascii_key(34), primary_key=True),
        sa.Column("conversation_id", ascii_key(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Index("ix_file_uses_message", "conversation_id", "seq"),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("file_uses")
