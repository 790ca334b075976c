"""Groups by the names that their makers gave the calls."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "group_creations",
        sa.Column("creator_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("creation_key", ascii_key(64), primary_key=True),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("group_creations")
