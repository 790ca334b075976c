#!/usr/bin/env bash
# SQLAlchemy 2.1.9: after an upsert that found its row, inserted_primary_key is with SQLite (aiosqlite 0.22.1) the key
# of whatever the connection has inserted last, into any table, and with MariaDB 10.11.19 (asyncmy 0.2.18) 0 when the row
# stayed as it was.
#
# One would expect the key of the row, or None, or an error, as the accessor raises where it has nothing to say. But for
# an INSERT without RETURNING the key comes from the driver's lastrowid, and nobody looks whether the statement has
# inserted anything. SQLite keeps that number of an earlier INSERT, which may be of another table, and, as connections
# are pooled, of another request: so what is written next belongs to another user's row, if there happens to be one with
# that number. In a test that upserts what it has just inserted the number is right. With MariaDB the same upsert gives
# the right key when it changes something, and 0 when it does not, which is when it is repeated. The rows themselves are
# right. `.returning(table.c.id)` gives the right key with both, and no row where nothing was done.
#
# Seen, "red" is row 1 of tags, "green" row 2, and 41 messages came after that: SQLite: DO UPDATE: 41, DO NOTHING: 41,
# DO UPDATE with returning(): 1; MariaDB: ON DUPLICATE KEY UPDATE, changed: 1, not changed: 0, with returning(): 1.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
python3.11 -m venv venv
venv/bin/pip install -q sqlalchemy==2.1.9 greenlet==3.5.6 asyncmy==0.2.18 aiosqlite==0.22.1
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import asyncio
import sqlite3
import sys

from sqlalchemy import Column, Integer, MetaData, String, Table, select, text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import create_async_engine

ON_MARIADB = "mysql+asyncmy://root@localhost/{}?unix_socket=s"
metadata = MetaData()
tags = Table(
    "tags",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), unique=True),
    Column("used", Integer, default=1),
)
messages = Table("messages", metadata, Column("id", Integer, primary_key=True), Column("text", String(20)))
on_sqlite = sqlite.insert(tags).values(name="red")
on_mariadb = mysql.insert(tags).values(name="red")
once_more = {"used": tags.c.used + 1}
UPSERTS = {
    "sqlite": {
        "DO UPDATE": on_sqlite.on_conflict_do_update(index_elements=["name"], set_=once_more),
        "DO NOTHING": on_sqlite.on_conflict_do_nothing(),
    },
    "mysql": {
        "changed": on_mariadb.on_duplicate_key_update(**once_more),
        "not changed": on_mariadb.on_duplicate_key_update(used=tags.c.used),
    },
}


async def given(engine):
    """What each upsert says about the row that it found."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        for name in ("red", "green"):
            await connection.execute(tags.insert().values(name=name))
    async with engine.begin() as connection:
        for number in range(41):
            await connection.execute(messages.insert().values(text=f"message {number}"))
    keys = {}
    upserts = UPSERTS[engine.dialect.name]
    async with engine.begin() as connection:
        for name, upsert in upserts.items():
            (keys[name],) = (await connection.execute(upsert)).inserted_primary_key
        first = next(iter(upserts.values()))
        keys["returning()"] = (await connection.execute(first.returning(tags.c.id))).scalar_one()
        rows = (await connection.execute(select(tags).order_by(tags.c.id))).all()
    await engine.dispose()
    print(f"  {engine.dialect.name}: {keys}, there are {rows}")
    assert [row.name for row in rows] == ["red", "green"]
    return keys


async def main():
    boss = create_async_engine(ON_MARIADB.format(""))
    async with boss.connect() as connection:
        print("MariaDB", await connection.scalar(text("SELECT VERSION()")), "SQLite", sqlite3.sqlite_version)
        await connection.execute(text("CREATE DATABASE d"))
    await boss.dispose()
    seen = [
        await given(create_async_engine(url))
        for url in ("sqlite+aiosqlite:///d.sqlite", ON_MARIADB.format("d"))
    ]
    return seen == [
        {"DO UPDATE": 41, "DO NOTHING": 41, "returning()": 1},
        {"changed": 1, "not changed": 0, "returning()": 1},
    ]


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py
