#!/usr/bin/env bash
# asyncmy 0.2.18, with MariaDB 10.11.19: `read_timeout` ends a wait for a server that says nothing, but not while a part
# of the statement itself is still to be sent. Then the error comes when the server reads again, or TCP gives
# the connection up, a quarter of an hour for a machine that vanished.
#
# One would expect OperationalError "(read timeout)" after that time, which is what the setting is for: a
# statement is sent to be answered, and no answer came. That is the error, but it is raised later: when the time is
# over, the driver closes the connection politely (it says that it quits, and waits until the connection is closed),
# and a connection closes when all is written that was to be written. What is larger than the buffers of the
# sockets, a batch of rows, say, so holds its task, its transaction and its place in the pool for as long as the
# server stands still. There is no timeout for writing. `asyncio.timeout` around the statement is kept.
#
# Seen, read_timeout=1, the server stopped (SIGSTOP) for 6 s: a statement of 100 bytes: error after 1.0 s; of 20 MB:
# after 6.1 s; the latter under asyncio.timeout(1): 1.0 s.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill -CONT "$server"; kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
python3.11 -m venv venv
venv/bin/pip install -q asyncmy==0.2.18
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --max-allowed-packet=64M --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import asyncio
import os
import signal
import sys
import time

import asyncmy

SERVER, STOPPED_S, LIMIT_S = int(sys.argv[1]), 6, 1


async def seconds(size, limit=None):
    """How long a statement of about so many bytes takes to fail while the server stands still."""
    connection = await asyncmy.connect(unix_socket="s", user="root", read_timeout=LIMIT_S)
    cursor = connection.cursor()
    os.kill(SERVER, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(STOPPED_S, os.kill, SERVER, signal.SIGCONT)
    started = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            await cursor.execute("SELECT LENGTH(%s)", ("x" * size,))
        error = None
    except (TimeoutError, asyncmy.errors.OperationalError) as raised:
        error = raised
    taken = time.monotonic() - started
    print(f"{size:10,} bytes, asyncio.timeout({limit}): {error!r} after {taken:.1f} s")
    await asyncio.sleep(STOPPED_S + 0.5 - taken)
    connection.close()
    return taken if error else 0.0


async def main():
    small, large, bounded = await seconds(100), await seconds(20_000_000), await seconds(20_000_000, LIMIT_S)
    return 0 if 0.9 < small < 2 and large >= STOPPED_S and 0.9 < bounded < 2 else 1


sys.exit(asyncio.run(main()))
PY
venv/bin/python show.py "$server"
