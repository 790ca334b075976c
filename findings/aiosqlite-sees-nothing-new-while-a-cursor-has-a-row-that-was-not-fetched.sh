#!/usr/bin/env bash
# aiosqlite 0.22.1 (and Python's sqlite3 beneath it), SQLite in WAL mode: after fetchone() on a query that has more rows,
# the whole connection sees the database as it was then, for as long as that cursor is kept. Its writes fail at once.
#
# One would expect a connection outside of a transaction to see what others have committed, and "database is locked" only
# after `timeout`. But a statement that has rows left is one that runs, and what runs keeps its snapshot: all other
# cursors of the connection read in it, too, and `in_transaction` is False all the while. So a cursor that is made once
# and kept, with which somebody asks "is there any" (SELECT 1 ... and fetchone()), makes a cache of the connection: it
# gives old rows to everybody, and the first write that follows is refused without a wait, as it would be on top of
# something old, which no repetition mends. Meanwhile no checkpoint passes that snapshot, and the WAL file grows with each
# write of any process. Where the query happens to give one row, as in a test, or has LIMIT 1, nothing of it is seen.
# `async with connection.execute(...) as cursor`, or reading all rows, is what helps.
#
# Seen (Python 3.11.7, SQLite 3.40.1), after an UPDATE by another connection, timeout=5: rows are left: the old value,
# 301 pages that no checkpoint takes after 300 writes, and "database is locked" after 0.0 s; the cursor closed, LIMIT 1,
# or no row left: the new value, all pages taken, and written.
# Exits 1 when that is no longer so. Needs python3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q aiosqlite==0.22.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sqlite3
import sys
import time

import aiosqlite

WRITES = 300


async def value(connection):
    """By a cursor of its own, which is closed."""
    async with connection.execute("SELECT value FROM t WHERE id = 1") as cursor:
        return (await cursor.fetchone())[0]


async def after(path, name, query, *, close=False):
    """What a connection sees and writes after it has fetched a row by this query."""
    async with aiosqlite.connect(path, timeout=5) as one, aiosqlite.connect(path) as other:
        await one.execute("PRAGMA journal_mode = WAL")
        await one.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
        await one.executemany("INSERT INTO t VALUES (?, 0)", [(1,), (2,), (3,)])
        await one.commit()
        cursor = await one.execute(query)
        assert await cursor.fetchone() == (1,)
        if close:
            await cursor.close()
        await other.execute("UPDATE t SET value = 1")
        await other.commit()
        assert not one.in_transaction
        seen = await value(one)
        for _ in range(WRITES):
            await other.execute("UPDATE t SET value = value + 1")
            await other.commit()
        async with other.execute("PRAGMA wal_checkpoint(PASSIVE)") as checkpoint:
            _, pages, taken = await checkpoint.fetchone()
        began, said = time.monotonic(), "written"
        try:
            await one.execute("UPDATE t SET value = 2 WHERE id = 2")
            await one.commit()
        except sqlite3.OperationalError as error:
            said = str(error)
        took = time.monotonic() - began
        print(f"{name}: sees {seen}, {said} after {took:.1f} s; {pages - taken} pages of the WAL file are left")
        return seen, said, took < 1, pages - taken >= WRITES


async def main(folder):
    print("Python", sys.version.split()[0], "SQLite", sqlite3.sqlite_version)
    every, first = "SELECT id FROM t ORDER BY id", "SELECT id FROM t WHERE id = 1"
    found = [
        await after(f"{folder}/left.db", "rows are left", every),
        await after(f"{folder}/closed.db", "rows are left, closed", every, close=True),
        await after(f"{folder}/limit.db", "LIMIT 1", every + " LIMIT 1"),
        await after(f"{folder}/one.db", "no row is left", first),
    ]
    return found == [(0, "database is locked", True, True)] + [(1, "written", True, False)] * 3


sys.exit(0 if asyncio.run(main(sys.argv[1])) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
