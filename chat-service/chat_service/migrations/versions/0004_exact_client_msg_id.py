"""Two names that a client gives are two, also when they differ by spaces at the end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute(sa.text("ALTER TABLE messages MODIFY client_msg_id VARBINARY(256) NOT NULL"))


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute(
            sa.text(
                "ALTER TABLE messages MODIFY client_msg_id VARCHAR(64) "
                "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
            )
        )
