"""Why something was done."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("deeds", sa.Column("reason", sa.String(255), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("deeds", "reason")
