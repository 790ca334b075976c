"""Groups and their members."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, AutoId

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("group_id", AutoId, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("avatar", sa.String(512), nullable=False),
        sa.Column("announcement", sa.Text, nullable=False),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("join_policy", sa.SmallInteger, nullable=False),
        sa.Column("muted", sa.Boolean, nullable=False),
        sa.Column("member_count", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
        mysql_auto_increment="1001",
        **MYSQL_TABLE,
    )
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("muted_until", sa.BigInteger, nullable=False),
        sa.Column("joined_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_index("ix_group_members_page", "group_members", ["user_id", "joined_at", "group_id"])
    if op.get_bind().dialect.name == "sqlite":
        # The table of counters is SQLite's own; the first id is one above this.
        op.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('groups', 1000)")


def downgrade() -> None:
    for table in ("group_members", "groups"):
        op.drop_table(table)
