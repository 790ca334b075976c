"""What operators have done."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, AutoId, ascii_key

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "deeds",
        sa.Column("deed_id", AutoId, primary_key=True, autoincrement=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("action", ascii_key(64), nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("outcome", ascii_key(64), nullable=False),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("deeds")
