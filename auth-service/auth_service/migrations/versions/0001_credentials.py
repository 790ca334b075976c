"""Accounts."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, AutoId, ascii_key

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "credentials",
        sa.Column("user_id", AutoId, primary_key=True, autoincrement=True),
        sa.Column("username", ascii_key(32), nullable=False),
        sa.Column("username_key", ascii_key(32), nullable=False),
        sa.Column("nickname", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(254)),
        sa.Column("password_hash", ascii_key(60), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("has_profile", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("username_key", name="uq_credentials_username_key"),
        sa.UniqueConstraint("email_key", name="uq_credentials_email_key"),
        sqlite_autoincrement=True,
        mysql_auto_increment="1001",
        **MYSQL_TABLE,
    )
    if op.get_bind().dialect.name == "sqlite":
        # The table of counters is SQLite's own; the first id is one above this.
        op.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('credentials', 1000)")


def downgrade() -> None:
    op.drop_table("credentials")
