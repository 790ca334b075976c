"""How many places of a conversation were never given to a message, as a backup was put back."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column(
        "conversations", sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("conversations", "skipped")
