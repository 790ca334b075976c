"""Who has which role in a group, without a look at all members."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("ix_group_members_role", "group_members", ["group_id", "role"])


def downgrade() -> None:
    op.drop_index("ix_group_members_role", "group_members")
