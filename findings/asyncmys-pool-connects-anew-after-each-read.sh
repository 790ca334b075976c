#!/usr/bin/env bash
# asyncmy 0.2.18, with MariaDB 10.11.19: a pool as create_pool() makes it keeps no connection that has read from a table.
# Each acquire() connects and logs in anew.
#
# One would expect of a pool that 200 queries, one after the other, are made on one connection. But autocommit is off by
# default, so that a SELECT begins a transaction, and a connection that is given back in one is closed, not rolled back.
# Who only reads has no reason to think of commit(), and nothing fails: it is slower by the connection for each
# query (TCP, TLS, the password's hash), minsize and pool_recycle mean nothing, and under load the server has thousands
# of logins a second and the client's ports run out in TIME_WAIT. It is not seen with SELECT 1, by which one tries a pool,
# nor in code that writes, as that commits. autocommit=True, or a rollback() before the end, is what helps.
#
# Seen, 200 times acquire() and a query on a pool of five: SELECT id FROM t: 199 new connections; SELECT 1: 0; SELECT id
# and rollback(): 0; autocommit=True: 0.
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
venv/bin/pip install -q asyncmy==0.2.18
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import asyncio
import sys
import time

import asyncmy

TIMES = 200


async def asked(connection, query):
    async with connection.cursor() as cursor:
        await cursor.execute(query)
        return await cursor.fetchall() if cursor.description else ()


async def main():
    boss = await asyncmy.connect(unix_socket="s", autocommit=True)
    for statement in ("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB"):
        await asked(boss, statement)
    await asked(boss, "INSERT INTO d.t VALUES (1)")

    async def connections():
        ((_, count),) = await asked(boss, "SHOW GLOBAL STATUS LIKE 'Connections'")
        return int(count)

    async def new_ones(name, query, *, rollback=False, **settings):
        pool = await asyncmy.create_pool(unix_socket="s", database="d", minsize=1, maxsize=5, **settings)
        before, began = await connections(), time.monotonic()
        for _ in range(TIMES):
            async with pool.acquire() as connection:
                await asked(connection, query)
                if rollback:
                    await connection.rollback()
        took = (time.monotonic() - began) / TIMES
        made = await connections() - before
        pool.close()
        await pool.wait_closed()
        print(f"{name}: {made} new connections, {took * 1e6:.0f} us each time")
        return made

    ((version,),) = await asked(boss, "SELECT VERSION()")
    print("MariaDB", version)
    reading = await new_ones("SELECT id FROM t", "SELECT id FROM t")
    others = [
        await new_ones("SELECT 1", "SELECT 1"),
        await new_ones("SELECT id FROM t, rollback()", "SELECT id FROM t", rollback=True),
        await new_ones("SELECT id FROM t, autocommit=True", "SELECT id FROM t", autocommit=True),
    ]
    await boss.ensure_closed()
    return reading >= TIMES - 1 and others == [0, 0, 0]


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py
