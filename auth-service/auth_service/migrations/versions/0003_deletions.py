"""Accounts that were deleted and are not forgotten everywhere yet."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "deletions",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("deletions")
