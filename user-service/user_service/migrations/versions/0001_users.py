"""Profiles."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("username", ascii_key(32), nullable=False),
        sa.Column("username_key", ascii_key(32), nullable=False),
        sa.Column("nickname", sa.String(64), nullable=False),
        sa.Column("nickname_key", sa.String(128), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("avatar", sa.String(512), nullable=False),
        sa.Column("gender", sa.SmallInteger, nullable=False),
        sa.Column("signature", sa.String(256), nullable=False),
        sa.Column("birthday", ascii_key(10), nullable=False),
        sa.Column("ext", sa.Text, nullable=False),
        sa.Column("presence_hidden", sa.Boolean, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("username_key", name="uq_users_username_key"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_users_nickname_key", "users", ["nickname_key", "user_id"])


def downgrade() -> None:
    op.drop_table("users")
