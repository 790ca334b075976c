"""The place of a group's last change of members: up to which change a roster is known."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "conversations",
        sa.Column("roster_seq", sa.BigInteger, nullable=False, server_default="0"),
    )


def downgrade() -> None:
    op.drop_column("conversations", "roster_seq")
