#!/usr/bin/env bash
# MariaDB 10.11.19: UPDATE and DELETE ... WHERE (a, b) IN ((3, 1)) on the columns of the primary key read
# the whole table; with two pairs or more in the list they read just those rows, and so does SELECT with
# one.
#
# One would expect the list of one pair to be the cheapest of all. It is an equality of two rows to the
# server, it seems: (a, b) = (3, 1) costs the same, and only SELECT takes it apart into a = 3 AND b = 1
# before it plans. So what is written for lists, as an ORM's IN that grows with its values, is quick in
# tests with several keys, and with one it read a million rows in 4.5 s.
#
# Seen, rows read of 10,000: (a, b) IN ((3, 1)) SELECT 1, UPDATE 10001, DELETE 10001; with two pairs 2, 2
# and 2; a = 3 AND b = 7: 1, 1 and 1.
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

import pymysql

ROWS = 10_000
connection = pymysql.connect(unix_socket="s", autocommit=True)
cursor = connection.cursor()
cursor.execute("CREATE DATABASE d")
cursor.execute("USE d")
cursor.execute("CREATE TABLE t (a BIGINT, b BIGINT, c BIGINT, PRIMARY KEY (a, b)) ENGINE=InnoDB")
for a in range(10):
    values = ",".join(f"({a},{b},0)" for b in range(ROWS // 10))
    cursor.execute(f"INSERT INTO t VALUES {values}")
cursor.execute("ANALYZE TABLE t")


def rows_read(statement):
    cursor.execute("FLUSH STATUS")
    cursor.execute(statement)
    cursor.fetchall()
    cursor.execute("SHOW STATUS LIKE 'Handler_read%'")
    return sum(int(value) for _, value in cursor.fetchall())


def by_statement(where):
    read = [
        rows_read(f"SELECT c FROM t WHERE {where}"),
        rows_read(f"UPDATE t SET c = c + 1 WHERE {where}"),
        rows_read(f"DELETE FROM t WHERE {where}"),
    ]
    print(f"{where:28} SELECT {read[0]}, UPDATE {read[1]}, DELETE {read[2]}")
    return read


cursor.execute("SELECT VERSION()")
print("MariaDB", cursor.fetchone()[0], "- rows read of", ROWS)
one = by_statement("(a, b) IN ((3, 1))")
two = by_statement("(a, b) IN ((3, 2), (3, 3))")
plain = by_statement("a = 3 AND b = 7")
holds = one[0] == 1 and min(one[1:]) > ROWS / 2 and max(two) <= 4 and max(plain) <= 2
print("a list of one pair reads the table" if holds else "CHANGED: it does not")
sys.exit(not holds)
PY
venv/bin/python show.py
