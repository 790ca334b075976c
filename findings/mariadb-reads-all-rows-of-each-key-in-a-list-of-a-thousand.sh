#!/usr/bin/env bash
# MariaDB 10.11.19: WHERE conversation IN (...) AND seq > 198, on the primary key (conversation, seq), reads the rows
# that it gives with up to 999 values in the list, and with 1000 all rows that there are of each conversation.
#
# One would expect that one value more costs one value more. But from in_predicate_conversion_threshold (1000) on the
# server makes a table of the list and joins it, and a join uses the second column for an equality alone: `seq > ...` is
# looked at row by row. So what is new in each conversation costs the whole history from then on, in the same statement
# on the same data, and more each day. The newest of each (MAX(seq) ... GROUP BY conversation) goes the same way, and the
# first five in the order of the key look a thousand up. EXPLAIN with a shorter list shows nothing of it, nor does a
# test; a user who joins one conversation more does. Lists of 999 at most, or in_predicate_conversion_threshold=0, are
# what helps. UPDATE and DELETE plan as before.
#
# Seen, 1000 conversations of 200 messages, rows read with 999 and with 1000 values: new ones 2997 and 203002, the newest
# 2997 and 405003, the first five 5 and 1007; with in_predicate_conversion_threshold=0 and 1000 values 3000, 3000 and 5.
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
venv/bin/pip install -q pymysql==1.2.4
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import sys

import pymysql

CONVERSATIONS, MESSAGES = 1_000, 200
cursor = pymysql.connect(unix_socket="s", autocommit=True).cursor()
cursor.execute("CREATE DATABASE d")
cursor.execute("USE d")
cursor.execute(
    "CREATE TABLE messages (conversation BIGINT, seq BIGINT, body VARCHAR(9), PRIMARY KEY (conversation, seq))"
    " ENGINE=InnoDB"
)
for conversation in range(CONVERSATIONS):
    values = ",".join(f"({conversation},{seq},'hello')" for seq in range(1, MESSAGES + 1))
    cursor.execute(f"INSERT INTO messages VALUES {values}")
cursor.execute("ANALYZE TABLE messages")
STATEMENTS = {
    "new ones": "SELECT body FROM messages WHERE conversation IN ({}) AND seq > 198",
    "the newest": "SELECT conversation, MAX(seq) FROM messages WHERE conversation IN ({}) GROUP BY conversation",
    "the first five": "SELECT body FROM messages WHERE conversation IN ({}) ORDER BY conversation, seq LIMIT 5",
}


def rows_read(statement, values):
    cursor.execute("FLUSH STATUS")
    cursor.execute(statement.format(",".join(map(str, range(values)))))
    given = len(cursor.fetchall())
    cursor.execute("SHOW STATUS LIKE 'Handler_read%'")
    return given, sum(int(value) for _, value in cursor.fetchall())


def each(values):
    read = []
    for name, statement in STATEMENTS.items():
        given, rows = rows_read(statement, values)
        print(f"  {name}: {given} given, {rows} read")
        read.append(rows)
    return read


cursor.execute("SELECT VERSION()")
print("MariaDB", cursor.fetchone()[0])
print("999 values")
fewer = each(999)
print("1000 values")
more = each(1000)
print("1000 values, in_predicate_conversion_threshold=0")
cursor.execute("SET in_predicate_conversion_threshold = 0")
unchanged = each(1000)
little = (4_000, 4_000, 10)
holds = (
    all(read <= most for read, most in zip(fewer, little))
    and all(read <= most for read, most in zip(unchanged, little))
    and min(more[:2]) >= CONVERSATIONS * MESSAGES
    and more[2] >= CONVERSATIONS
)
sys.exit(not holds)
PY
venv/bin/python show.py
