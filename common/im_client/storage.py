"""Where a client keeps what must outlive it: its session, what it has not sent yet, the last messages.

Keys are texts in order, values are JSON. `write` is all or nothing, and on the disk when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from im_client.errors import StorageInUse

T = TypeVar("T")
# A value of None deletes the key.
Change = tuple[str, Any]
_ABOVE = "\U0010ffff"


class Storage(Protocol):
    async def get(self, key: str) -> Any:
        """None when there is nothing."""

    async def list(
        self, prefix: str, *, after: str = "", limit: int | None = None
    ) -> list[tuple[str, Any]]:
        """What has keys with that beginning, in their order; above the key ``after``."""
        ...

    async def write(self, changes: Sequence[Change]) -> None: ...

    async def close(self) -> None: ...


class MemoryStorage:
    """For as long as the object lives; a client that is opened on it again goes on."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._keys: list[str] = []

    async def get(self, key: str) -> Any:
        return json.loads(self._values.get(key, "null"))

    async def list(
        self, prefix: str, *, after: str = "", limit: int | None = None
    ) -> list[tuple[str, Any]]:
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        end = bisect_left(self._keys, prefix + _ABOVE)
        keys = self._keys[start:end][:limit]
        return [(key, json.loads(self._values[key])) for key in keys]

    async def write(self, changes: Sequence[Change]) -> None:
        texts = [(key, None if value is None else json.dumps(value)) for key, value in changes]
        for key, text in texts:
            if text is not None:
                if key not in self._values:
                    insort(self._keys, key)
                self._values[key] = text
            elif key in self._values:
                del self._values[key]
                del self._keys[bisect_left(self._keys, key)]

    async def close(self) -> None:
        """Nothing is lost by it."""


class SqliteStorage:
    """A file that only its owner may read, as it has the session's tokens in it. One client has it at
    a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """The file is made, or opened, when it is first used; StorageInUse is raised then."""
        self._path = Path(path)
        # SQLite waits for the disk: in a thread, one call after the other.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="im-client-storage")
        self._database: sqlite3.Connection | None = None

    async def get(self, key: str) -> Any:
        def read(database: sqlite3.Connection) -> Any:
            row = database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
            return json.loads(row[0]) if row else None

        return await self._do(read)

    async def list(
        self, prefix: str, *, after: str = "", limit: int | None = None
    ) -> list[tuple[str, Any]]:
        def read(database: sqlite3.Connection) -> list[tuple[str, Any]]:
            rows = database.execute(
                "SELECT key, value FROM entries WHERE key >= ? AND key < ? AND key > ?"
                " ORDER BY key LIMIT ?",
                (prefix, prefix + _ABOVE, after, -1 if limit is None else limit),
            )
            return [(key, json.loads(value)) for key, value in rows]

        return await self._do(read)

    async def write(self, changes: Sequence[Change]) -> None:
        new = [(key, json.dumps(value)) for key, value in changes if value is not None]
        gone = [(key,) for key, value in changes if value is None]

        def store(database: sqlite3.Connection) -> None:
            with database:
                database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", new)
                database.executemany("DELETE FROM entries WHERE key = ?", gone)

        if changes:
            await self._do(store)

    async def close(self) -> None:
        """Lets another client have the file."""

        def end() -> None:
            if self._database:
                self._database.close()
            self._database = None

        with contextlib.suppress(RuntimeError):  # closed before
            await asyncio.get_running_loop().run_in_executor(self._thread, end)
        self._thread.shutdown(wait=False)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            if self._database is None:
                self._database = _opened(self._path)
            return work(self._database)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)


def _opened(path: Path) -> sqlite3.Connection:
    # Before SQLite makes it for all to read.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    database = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        # Held until it is closed, or the process is gone.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"
            )
            database.execute("DELETE FROM entries WHERE key = ''")
    except sqlite3.OperationalError as error:
        database.close()
        if "locked" not in str(error):
            raise
        raise StorageInUse(f"another client has {path} open") from None
    return database
