"""Who is mentioned where is found by user. What was written before mentions nobody."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "mentions",
        sa.Column("conversation_id", ascii_key(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Index("ix_mentions_user", "user_id", "conversation_id", "seq"),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("mentions")
