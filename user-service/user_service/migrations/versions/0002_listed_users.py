"""What a search may show, without a look at the accounts that are disabled."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("ix_users_listed_username", "users", ["disabled", "username_key"])
    op.create_index("ix_users_listed_nickname", "users", ["disabled", "nickname_key", "user_id"])
    op.drop_index("ix_users_nickname_key", "users")


def downgrade() -> None:
    op.create_index("ix_users_nickname_key", "users", ["nickname_key", "user_id"])
    op.drop_index("ix_users_listed_nickname", "users")
    op.drop_index("ix_users_listed_username", "users")
