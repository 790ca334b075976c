"""What is known of uploaded files."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("file_id", ascii_key(34), primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("content_type", ascii_key(128), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("thumbnail_size", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("look_at", sa.BigInteger),
        sa.Column("is_ending", sa.Boolean, nullable=False),
        sa.Index("ix_files_look_at", "look_at"),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("files")
