"""Two nicknames are two for the search, also when their keys differ by a space at the end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute(sa.text("ALTER TABLE users MODIFY nickname_key VARBINARY(512) NOT NULL"))


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute(
            sa.text(
                "ALTER TABLE users MODIFY nickname_key VARCHAR(128) "
                "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
            )
        )
