"""What all tables of friend-service belong to, and its outbox."""

from __future__ import annotations

from sqlalchemy import MetaData

from im_common.sql.outbox import OutboxTables

metadata = MetaData()
outbox = OutboxTables(metadata)
