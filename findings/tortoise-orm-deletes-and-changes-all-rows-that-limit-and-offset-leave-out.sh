#!/usr/bin/env bash
# Tortoise ORM 1.1.9: delete() and update() after limit() take with SQLite all rows that match, not only so many, and
# with both SQLite and MariaDB 10.11.19 (asyncmy 0.2.18) all of them after offset(), without an error.
#
# One would expect what delete() is documented to do, "all objects in QuerySet", and awaiting the same QuerySet shows
# which these are; or an error, as Django raises for a slice. But LIMIT and ORDER BY are put into the statement only
# where the kind of database is known to take them there, which MySQL is; for SQLite, and PostgreSQL and MSSQL by the
# same switch, they are dropped. OFFSET is dropped for every kind. So "the three oldest" becomes all, and so does "all
# but the newest three"; a worker that marks a hundred rows as its own has marked those of all workers. Tests on MariaDB
# say nothing of SQLite here, and the number that is given back counts what was done. (Its issues 697, 748 and 27 are
# closed.) What helps is to read the ids first, and delete by filter(id__in=...).
#
# Seen, of ten rows: SQLite: limit(3): three are given, update() changes 10, delete() deletes 10; offset(3), by
# descending ids: seven are given, and 10 and 10; MariaDB: limit(3): 3 and 3, offset(3): 10 and 10.
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
venv/bin/pip install -q tortoise-orm==1.1.9 pypika-tortoise==0.6.5 aiosqlite==0.22.1 asyncmy==0.2.18
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.py <<'PY'
import asyncio
import sys

from tortoise import Tortoise, fields
from tortoise.models import Model

ROWS = 10


class Message(Model):
    id = fields.IntField(primary_key=True)
    done = fields.BooleanField(default=False)


def oldest():
    return Message.all().order_by("id").limit(3)


def all_but_the_newest():
    return Message.all().order_by("-id").offset(3).limit(ROWS)


def after_the_first():
    return Message.all().order_by("id").offset(3)


async def counts(rows):
    """How many are given, changed and deleted, as it says and as it is."""
    await Message.all().delete()
    await Message.bulk_create([Message(id=number) for number in range(1, ROWS + 1)])
    given = len(await rows())
    said = await rows().update(done=True)
    changed = await Message.filter(done=True).count()
    assert said == changed
    await rows().delete()
    return given, changed, ROWS - await Message.all().count()


async def main(name, url, stated):
    await Tortoise.init(db_url=url, modules={"models": ["__main__"]}, _create_db=name != "SQLite")
    await Tortoise.generate_schemas()
    seen = {rows.__name__: await counts(rows) for rows in (oldest, all_but_the_newest)}
    if name == "SQLite":  # MariaDB knows no OFFSET without a LIMIT, and refuses.
        seen[after_the_first.__name__] = await counts(after_the_first)
    _, [version] = await Tortoise.get_connection("default").execute_query(f"SELECT {VERSIONS[name]} AS version")
    await Tortoise.close_connections()
    print(name, dict(version)["version"])
    for what, (given, changed, deleted) in seen.items():
        print(f"  {what}: {given} given, {changed} changed, {deleted} deleted")
    return seen == stated


VERSIONS = {"SQLite": "sqlite_version()", "MariaDB": "VERSION()"}
STATED = {
    "SQLite": {
        "oldest": (3, 10, 10),
        "all_but_the_newest": (7, 10, 10),
        "after_the_first": (7, 10, 10),
    },
    "MariaDB": {"oldest": (3, 3, 3), "all_but_the_newest": (7, 10, 10)},
}
_, name, url = sys.argv
sys.exit(0 if asyncio.run(main(name, url, STATED[name])) else 1)
PY
venv/bin/python show.py SQLite "sqlite://:memory:"
venv/bin/python show.py MariaDB "mysql://root:@localhost/d?unix_socket=$folder/s"
