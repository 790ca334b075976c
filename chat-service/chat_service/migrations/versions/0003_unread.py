"""What of the unread messages does not count is found by user."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index(
        "ix_deleted_messages_user", "deleted_messages", ["user_id", "conversation_id", "seq"]
    )
    op.execute(
        sa.text(
            "INSERT INTO deleted_messages (conversation_id, seq, user_id) "
            "SELECT conversation_id, seq, 0 FROM messages WHERE status = 1"
        )
    )


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM deleted_messages WHERE user_id = 0"))
    op.drop_index("ix_deleted_messages_user", "deleted_messages")
