#!/usr/bin/env bash
# asyncmy 0.2.18, with MariaDB 10.11.19: a parameter of a type that it does not know is stored as str(value), without
# an error. Of a memoryview that is "<memory at 0x7f…>", and the bytes are gone.
#
# One would expect an error, as of sqlite3 and of most drivers, or for a memoryview its bytes, as it is what sqlite3
# and psycopg take and what buffers give (asyncio's BufferedProtocol, a slice of a large message, numpy, mmap). But
# what is not in the table of types is written as if it were text, wherever text is taken: into VARBINARY and BLOB, VARCHAR
# and TEXT. The row is there, the count is right, and it is noticed when it is read again. So it is with an Enum
# ("Colour.RED", not its value) and with any object. `bytes(value)` is what is wanted; a bytearray, which its own
# documentation names with bytes, raises TypeError.
#
# Seen: memoryview(b"payload"): b'<memory at 0x7f2f0c1b8ac0>'; Colour.RED = "r": b'Colour.RED'; sqlite3: b'payload', and
# ProgrammingError for the other.
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
import enum
import sqlite3
import sys

import asyncmy


class Colour(enum.Enum):
    RED = "r"


VALUES = [memoryview(b"payload"), Colour.RED]


async def with_asyncmy():
    connection = await asyncmy.connect(unix_socket="s", user="root", autocommit=True)
    cursor = connection.cursor()
    await cursor.execute("CREATE DATABASE shop")
    await cursor.execute("CREATE TABLE shop.things (body BLOB)")
    found = []
    for value in VALUES:
        await cursor.execute("DELETE FROM shop.things")
        count = await cursor.execute("INSERT INTO shop.things VALUES (%s)", (value,))
        await cursor.execute("SELECT body FROM shop.things")
        found.append((count, (await cursor.fetchone())[0]))
    connection.close()
    return found


def with_sqlite():
    connection = sqlite3.connect(":memory:")
    found = []
    for value in VALUES:
        try:
            found.append(connection.execute("SELECT ?", (value,)).fetchone()[0])
        except sqlite3.ProgrammingError as error:
            found.append(error)
    return found


stored, others = asyncio.run(with_asyncmy()), with_sqlite()
for value, (count, body), other in zip(VALUES, stored, others, strict=True):
    print(f"{value!r}: {count} row with {body!r}; sqlite3: {other!r}")
as_stated = stored[0][1].startswith(b"<memory at 0x") and stored[1][1] == b"Colour.RED"
sys.exit(0 if as_stated and others[0] == b"payload" else 1)
PY
venv/bin/python show.py
