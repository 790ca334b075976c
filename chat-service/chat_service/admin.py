"""What an operator does from the command line."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError

from chat_service.config import Settings
from chat_service.logic.retention import expire_messages
from im_common.domain.ids import now_ms
from im_common.runtime import log as logs
from im_common.runtime.config import LogConf
from im_common.sql.db import Database

_DAY_MS = 24 * 3600 * 1000


def expire(settings: Settings, days: int | None) -> int:
    """`messages expire`: removes what is older than so many days, or than the setting says; returns
    the exit code."""
    logs.configure(settings.name, LogConf(level="error", encoding="plain"))
    kept_days = settings.retention_days if days is None else days
    if kept_days <= 0:
        return _fail("give --days, or set RetentionDays; by default messages are kept for ever")
    try:
        removed = asyncio.run(_expire(settings, now_ms() - kept_days * _DAY_MS))
    except (SQLAlchemyError, OSError) as error:
        return _fail(str(error))
    print(f"{removed} messages older than {kept_days} days removed")  # noqa: T201
    return 0


async def _expire(settings: Settings, before_ms: int) -> int:
    db = Database(settings.db)
    try:
        return await expire_messages(db, before_ms=before_ms)
    finally:
        await db.close()


def _fail(problem: str) -> int:
    print(f"chat-service: {problem}", file=sys.stderr)  # noqa: T201
    return 1
