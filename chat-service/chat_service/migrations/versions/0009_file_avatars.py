"""Which files are pictures of users and groups."""

import sqlalchemy as sa
from alembic import op

from im_common.sql.db import MYSQL_TABLE, ascii_key

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "file_avatars",
        sa.Column("file_id", ascii_key(34), primary_key=True),
        sa.Column("holder", ascii_key(32), primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Index("ix_file_avatars_holder", "holder", "since"),
        **MYSQL_TABLE,
    )


def downgrade() -> None:
    op.drop_table("file_avatars")
