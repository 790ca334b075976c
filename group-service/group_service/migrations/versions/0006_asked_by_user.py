"""Who asks to join which groups, for when the user is no more."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_group_join_requests_user", "group_join_requests", ["pending_user_id"])


def downgrade() -> None:
    op.drop_index("ix_group_join_requests_user", "group_join_requests")
