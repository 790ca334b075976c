"""What friends are still to be told of changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from im_common.sql.db import MYSQL_TABLE, AutoId, ascii_key

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", AutoId, primary_key=True),
        sa.Column("topic", ascii_key(64), nullable=False),
        sa.Column("record_key", ascii_key(64), nullable=False),
        sa.Column(
            "value", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql"), nullable=False
        ),
        sa.Column("traceparent", ascii_key(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_table(
        "outbox_lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", ascii_key(64), nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("outbox_lease")
    op.drop_table("outbox")
