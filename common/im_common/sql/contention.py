"""Transactions that get in each other's way: who was rolled back for another's sake tries again."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

C = TypeVar("C")
T = TypeVar("T")

ATTEMPTS = 8
_PAUSE_S = 0.01
# Deadlock, lock wait timeout, a row that has changed since it was read; TiDB's write conflicts.
_MYSQL_CONFLICTS = frozenset((1205, 1213, 1020, 8002, 8022, 8028, 9007))


async def transact(write: Callable[[Callable[[C], T]], Awaitable[T]], work: Callable[[C], T]) -> T:
    """What ``work`` gives for a transaction of ``write`` (such as ``Database.write``). It runs again,
    from its beginning, when another transaction was in the way; a commit whose outcome is not known is
    not repeated."""
    for attempt in range(1, ATTEMPTS):
        try:
            return await write(work)
        except DBAPIError as error:
            if not is_conflict(error):
                raise
        await asyncio.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311
    return await write(work)


def is_conflict(error: DBAPIError) -> bool:
    """Whether the transaction was rolled back because of another one."""
    original = error.orig
    if isinstance(original, sqlite3.OperationalError):
        return "locked" in str(original) or "busy" in str(original)
    arguments: Sequence[Any] = getattr(original, "args", ())
    return bool(arguments) and arguments[0] in _MYSQL_CONFLICTS
