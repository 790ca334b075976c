"""Block lists."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "blocked_users",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("blocked_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_index(
        "ix_blocked_users_page", "blocked_users", ["user_id", "created_at", "blocked_id"]
    )


def downgrade() -> None:
    op.drop_table("blocked_users")
