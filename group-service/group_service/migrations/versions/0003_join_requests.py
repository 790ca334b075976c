"""Requests to join, descriptions, names within groups, and the end of groups."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, AutoId

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "groups", sa.Column("description", sa.String(512), nullable=False, server_default="")
    )
    for name in ("changed_at", "dismissed_at"):
        op.add_column("groups", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column(
        "group_members", sa.Column("nickname", sa.String(64), nullable=False, server_default="")
    )
    op.create_table(
        "group_join_requests",
        sa.Column("request_id", AutoId, primary_key=True, autoincrement=True),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("message", sa.String(256), nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("pending_user_id", sa.BigInteger, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("group_id", "pending_user_id", name="uq_group_join_requests_pending"),
        sqlite_autoincrement=True,
        **MYSQL_TABLE,
    )
    op.create_index(
        "ix_group_join_requests_page", "group_join_requests", ["group_id", "status", "request_id"]
    )


def downgrade() -> None:
    op.drop_table("group_join_requests")
    op.drop_column("group_members", "nickname")
    for name in ("dismissed_at", "changed_at", "description"):
        op.drop_column("groups", name)
