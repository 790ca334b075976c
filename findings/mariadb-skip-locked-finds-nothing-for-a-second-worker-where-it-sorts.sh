#!/usr/bin/env bash
# MariaDB 10.11.19: SELECT ... ORDER BY priority LIMIT 1 FOR UPDATE SKIP LOCKED locks every row that it could have
# chosen, where it has to sort. A second worker skips them all: its queue is empty, while 999 jobs wait.
#
# One would expect that of a queue each worker gets a job of its own, which is what SKIP LOCKED is for, and what
# PostgreSQL does with that very statement. But rows are locked as they are read, which is before they are sorted and
# cut to one, and nothing is given back after that, with READ COMMITTED neither. An empty answer is no error, so that
# the second worker sleeps as if there was nothing to do: ten workers do what one does, a job that takes long holds all
# others up, and whoever changes one of them (an UPDATE by its key, to call it off) waits for that worker. With one
# worker, or with jobs that end at once, nothing is seen of it. An index that has the rows in order ends it, (state,
# priority) here, for as long as the server takes that one.
#
# Seen, 1000 jobs, index (state): the first worker has job 0 and 2002 locks (on the index and on the rows), the second
# has none, and an UPDATE of job 500 waits until its limit; with READ COMMITTED the same; without ORDER BY, or with an
# index (state, priority), each has a job, the first has 2 locks, and the UPDATE goes through.
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
import time

import pymysql

JOBS = 1_000
boss = pymysql.connect(unix_socket="s", autocommit=True).cursor()
boss.execute("CREATE DATABASE d")


def rows_locked(cursor):
    # The server makes that table anew only after 0.1 s.
    time.sleep(0.3)
    boss.execute(
        "SELECT trx_rows_locked FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = %s",
        (cursor.connection.thread_id(),),
    )
    return boss.fetchone()[0]


def changed(job):
    """Whether somebody else can change a job."""
    with pymysql.connect(unix_socket="s", database="d", autocommit=True) as other, other.cursor() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 1")
        try:
            return cursor.execute("UPDATE jobs SET note = 'off' WHERE id = %s", (job,)) == 1
        except pymysql.err.OperationalError:
            return False


def two_workers(name, isolation="REPEATABLE READ", index="state", order="ORDER BY priority"):
    boss.execute("DROP TABLE IF EXISTS d.jobs")
    boss.execute(
        "CREATE TABLE d.jobs (id BIGINT PRIMARY KEY, state VARCHAR(9), priority INT, note VARCHAR(9),"
        f" KEY ({index})) ENGINE=InnoDB"
    )
    jobs = ",".join(f"({job}, 'new', {job % 7}, '')" for job in range(JOBS))
    boss.execute(f"INSERT INTO d.jobs VALUES {jobs}")
    got = []
    workers = [pymysql.connect(unix_socket="s", database="d").cursor() for _ in range(2)]
    for worker in workers:
        worker.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
        worker.execute(f"SELECT id FROM jobs WHERE state = 'new' {order} LIMIT 1 FOR UPDATE SKIP LOCKED")
        got.append([job for (job,) in worker.fetchall()])
    first_has = rows_locked(workers[0])
    passed = changed(500)
    for worker in workers:
        worker.connection.close()
    print(f"{name:28} first {got[0]}, second {got[1]}, first locks {first_has}, UPDATE of another: {passed}")
    return len(got[0]) == 1, len(got[1]) == 1, passed


boss.execute("SELECT VERSION()")
print("MariaDB", boss.fetchone()[0], "-", JOBS, "jobs")
ends = [
    two_workers("it sorts"),
    two_workers("it sorts, READ COMMITTED", isolation="READ COMMITTED"),
    two_workers("no order", order=""),
    two_workers("an index has the order", index="state, priority"),
]
sys.exit(0 if ends == [(True, False, False)] * 2 + [(True, True, True)] * 2 else 1)
PY
venv/bin/python show.py
