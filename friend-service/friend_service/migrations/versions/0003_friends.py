"""Friend requests and friendships."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, AutoId

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "relations",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_table(
        "friendships",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("friend_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("remark", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        **MYSQL_TABLE,
    )
    op.create_table(
        "friend_requests",
        sa.Column("request_id", AutoId, primary_key=True, autoincrement=True),
        sa.Column("from_user_id", sa.BigInteger, nullable=False),
        sa.Column("to_user_id", sa.BigInteger, nullable=False),
        sa.Column("message", sa.String(256), nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("pending_low", sa.BigInteger, nullable=True),
        sa.Column("pending_high", sa.BigInteger, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("pending_low", "pending_high", name="uq_friend_requests_pending"),
        sqlite_autoincrement=True,
        **MYSQL_TABLE,
    )
    for name, column in (("in", "to_user_id"), ("out", "from_user_id")):
        op.create_index(
            f"ix_friend_requests_{name}",
            "friend_requests",
            [column, "status", "created_at", "request_id"],
        )


def downgrade() -> None:
    for table in ("friend_requests", "friendships", "relations"):
        op.drop_table(table)
