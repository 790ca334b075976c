#!/usr/bin/env bash
# MariaDB 10.11.19: SELECT ... WHERE (a, b) IN ((1, 'x'), (2, 'y'), ...) on the columns of the primary key
# takes time that grows with the square of the number of pairs, as soon as another index begins with b.
# Nearly all of it is spent before the first row is read: EXPLAIN alone takes as long.
#
# One would expect a range of the primary key, a look-up for each pair: that is what the plan says in both
# cases, and what FORCE INDEX (PRIMARY) costs. The optimizer weighs both indexes for each pair, and merges
# what it found with what it had, so that a thousand pairs take it a second.
#
# Seen (2 busy cores): 125, 500 and 1000 pairs take 29, 223 and 967 ms, with FORCE INDEX 5, 12 and
# 21 ms.
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
venv/bin/pip install -q pymysql==1.1.2
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import sys
import time

import pymysql

connection = pymysql.connect(unix_socket="s", autocommit=True)
cursor = connection.cursor()
cursor.execute("CREATE DATABASE d")
cursor.execute("USE d")
cursor.execute(
    "CREATE TABLE t (a BIGINT, b VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin, c BIGINT,"
    " PRIMARY KEY (a, b), KEY other (b)) ENGINE=InnoDB"
)
for group in range(100):
    values = ",".join(f"({person},'g:{group}',0)" for person in range(1000))
    cursor.execute(f"INSERT INTO t VALUES {values}")
cursor.execute("ANALYZE TABLE t")


def milliseconds(pairs, hint, verb=""):
    wanted = ",".join(f"({n},'g:{n % 100}')" for n in range(pairs))
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        cursor.execute(f"{verb} SELECT c FROM t {hint} WHERE (a, b) IN ({wanted})")
        rows = cursor.fetchall()
        best = min(best, time.perf_counter() - began)
        assert verb or len(rows) == pairs
    return best * 1000


sizes = (125, 500, 1000)
plain = [milliseconds(size, "") for size in sizes]
explained = milliseconds(1000, "", "EXPLAIN")
forced = [milliseconds(size, "FORCE INDEX (PRIMARY)") for size in sizes]
cursor.execute("SELECT VERSION()")
print("MariaDB", cursor.fetchone()[0])
print("pairs                ", *sizes)
print("as it is (ms)        ", *(f"{one:.0f}" for one in plain), f"(EXPLAIN of 1000: {explained:.0f})")
print("FORCE INDEX (ms)     ", *(f"{one:.0f}" for one in forced))
square = plain[2] > 10 * plain[0] and plain[2] > 10 * forced[2] and explained > plain[2] / 3
print("the cost grows with the square" if square else "CHANGED: it does not")
sys.exit(not square)
PY
venv/bin/python show.py
