#!/usr/bin/env bash
# SQLAlchemy 2.1.9 with asyncmy 0.2.18 and MariaDB 10.11.19: when a statement within begin_nested() ends in a deadlock,
# all that the transaction did before is gone, and what follows it is committed without an error.
#
# One would expect of begin_nested() that who catches its error has the outer transaction as it was before the
# savepoint, which is what its documentation shows ("Skipped record"), or else that the outer one cannot be committed
# any more. But a deadlock ends the whole transaction in the server, savepoints and all, and says so by its number,
# 1213. SQLAlchemy sends ROLLBACK TO SAVEPOINT all the same, and raises what comes of that, 1305 "SAVEPOINT
# sa_savepoint_2 does not exist", in place of the deadlock, so that who looks at the number does not see what it was.
# The outer transaction is active to it, the next statement begins a new one in the server, and its end commits that:
# of an order and its lines there are the last lines, without the order. A duplicate key, by which one tries
# savepoints, leaves what was before. Doing the whole transaction anew on any OperationalError is what helps.
#
# Seen, three rows of one transaction, each in a savepoint, the second one with an error that is caught: duplicate key:
# first and third are there; deadlock: the error is 1305, commit() raises nothing, and only the third is there, by
# AsyncConnection and by AsyncSession; where the second is done again after the error: second and third.
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
venv/bin/pip install -q sqlalchemy==2.1.9 greenlet==3.5.6 asyncmy==0.2.18
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import asyncio
import sys

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

URL = "mysql+asyncmy://root@localhost/{}?unix_socket=s"


async def other_one(engine, has_two, goes_on):
    """Takes 2 and then 1; it has changed more, so that the server ends the other transaction."""
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE stock SET n = n - 1 WHERE id = 2"))
        for _ in range(50):
            await connection.execute(text("INSERT INTO notes VALUES ('other')"))
        has_two.set()
        await goes_on.wait()
        await connection.execute(text("UPDATE stock SET n = n - 1 WHERE id = 1"))


async def deadlock(transaction, engine):
    has_two, goes_on = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(other_one(engine, has_two, goes_on))
        await transaction.execute(text("UPDATE stock SET n = n - 1 WHERE id = 1"))
        await has_two.wait()
        goes_on.set()
        try:
            await transaction.execute(text("UPDATE stock SET n = n - 1 WHERE id = 2"))
        except DBAPIError as error:
            caught = error
    # Not within the group, which would make a group of it.
    print("    within the savepoint:", caught.orig.args[0])
    raise caught


async def duplicate_key(transaction, engine):
    await transaction.execute(text("INSERT INTO stock VALUES (1, 10)"))


async def written(transaction, engine, goes_wrong, *, tries):
    """The number of the error that the block of the second row raised."""
    number = None
    for name in ("first", "second", "third"):
        for attempt in range(tries):
            try:
                async with transaction.begin_nested():
                    await transaction.execute(text("INSERT INTO items VALUES (:name)"), {"name": name})
                    if name == "second" and attempt == 0:
                        await goes_wrong(transaction, engine)
                break
            except DBAPIError as error:
                number = error.orig.args[0]
    return number


async def left(engine, by, goes_wrong, *, tries=1):
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM items"))
    if by == "AsyncSession":
        async with AsyncSession(engine) as session, session.begin():
            number = await written(session, engine, goes_wrong, tries=tries)
    else:
        async with engine.begin() as connection:
            number = await written(connection, engine, goes_wrong, tries=tries)
    async with engine.connect() as connection:
        rows = list(await connection.scalars(text("SELECT name FROM items ORDER BY name")))
    how = "done again" if tries > 1 else "skipped"
    print(f"  {by}, {goes_wrong.__name__}, {how}: error {number}, committed, there are {rows}")
    return number, rows


async def main():
    boss = create_async_engine(URL.format(""))
    async with boss.connect() as connection:
        print("MariaDB", await connection.scalar(text("SELECT VERSION()")))
        await connection.execute(text("CREATE DATABASE d"))
    await boss.dispose()
    engine = create_async_engine(URL.format("d"))
    async with engine.begin() as connection:
        for table in (
            "stock (id INT PRIMARY KEY, n INT)",
            "items (name VARCHAR(9))",
            "notes (note VARCHAR(9))",
        ):
            await connection.execute(text(f"CREATE TABLE {table} ENGINE=InnoDB"))
        await connection.execute(text("INSERT INTO stock VALUES (1, 10), (2, 10)"))
    seen = [
        await left(engine, "AsyncConnection", duplicate_key),
        await left(engine, "AsyncConnection", deadlock),
        await left(engine, "AsyncSession", deadlock),
        await left(engine, "AsyncConnection", deadlock, tries=2),
    ]
    await engine.dispose()
    return seen == [
        (1062, ["first", "third"]),
        (1305, ["third"]),
        (1305, ["third"]),
        (1305, ["second", "third"]),
    ]


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py
