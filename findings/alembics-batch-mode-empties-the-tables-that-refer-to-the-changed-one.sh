#!/usr/bin/env bash
# Alembic 1.20.1 with SQLAlchemy 2.1.9, SQLite: where foreign keys are enforced, batch_alter_table() of a table that
# others refer to with ON DELETE CASCADE deletes all rows of those. The migration goes through, and the changed table is
# whole.
#
# One would expect the error that its documentation announces: as the old table is dropped, "this will raise an error" if
# foreign keys refer to it. So it does for plain ones. But SQLite takes DROP TABLE for a DELETE of all rows, and what
# follows a delete is done: CASCADE takes the messages of users of whom none was deleted, SET NULL cuts them off. So to
# make a column of users NOT NULL costs every message, and a test whose tables are empty shows nothing of it. The
# documentation also says that the PRAGMA must be disabled meanwhile. In a migration that does nothing, and says nothing,
# where a transaction has begun, as with the BEGIN of one's own that SQLAlchemy's documentation has for SQLite: then who
# has turned it off loses the rows as well. Turning it off before the transaction (in env.py, on the connection), and
# asking PRAGMA foreign_keys whether it is off, is what helps.
#
# Seen, two users with a message each, users.name made NOT NULL; messages left: plain foreign key: IntegrityError, 2; ON
# DELETE CASCADE: done, 0; SET NULL: done, 2, of nobody; CASCADE with PRAGMA foreign_keys=OFF in the migration: done, 2,
# and with the BEGIN of one's own: done, 0.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q alembic==1.20.1 sqlalchemy==2.1.9
cat >"$folder/show.py" <<'PY'
import sqlite3
import sys

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Text, create_engine, event, text
from sqlalchemy.exc import IntegrityError

TABLES = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE messages (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id) {})",
    "INSERT INTO users VALUES (1, 'ann'), (2, 'bob')",
    "INSERT INTO messages VALUES (1, 1), (2, 2)",
)


def engine_on(path, *, begins):
    """Both hooks as SQLAlchemy's documentation has them."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def connected(connection, record):
        if begins:
            connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    if begins:

        @event.listens_for(engine, "begin")
        def begun(connection):
            connection.exec_driver_sql("BEGIN")

    return engine


def migrate(connection, *, turned_off):
    context = MigrationContext.configure(connection)
    operations = Operations(context)
    with context.begin_transaction():
        if turned_off:
            operations.execute("PRAGMA foreign_keys=OFF")
        with operations.batch_alter_table("users") as users:
            users.alter_column("name", existing_type=Text(), nullable=False)
    connection.commit()


def left(path, on_delete, *, turned_off=False, begins=False):
    """What became of the migration, and of the messages."""
    engine = engine_on(path, begins=begins)
    with engine.begin() as connection:
        for statement in TABLES:
            connection.execute(text(statement.format(on_delete)))
    try:
        with engine.connect() as connection:
            migrate(connection, turned_off=turned_off)
        said = "done"
    except IntegrityError as error:
        said = type(error).__name__
    with engine.connect() as connection:
        users = connection.scalar(text("SELECT COUNT(*) FROM users"))
        of_whom = list(connection.scalars(text("SELECT user_id FROM messages ORDER BY id")))
    engine.dispose()
    assert users == 2
    how = ("turned off in the migration" if turned_off else "on") + (", BEGIN of one's own" * begins)
    print(f"  {on_delete or 'plain'}, foreign keys {how}: {said}, messages of {of_whom}")
    return said, of_whom


def main(folder):
    print("SQLite", sqlite3.sqlite_version)
    cascade = "ON DELETE CASCADE"
    seen = [
        left(folder + "/1", ""),
        left(folder + "/2", cascade),
        left(folder + "/3", "ON DELETE SET NULL"),
        left(folder + "/4", cascade, turned_off=True),
        left(folder + "/5", cascade, turned_off=True, begins=True),
    ]
    return seen == [
        ("IntegrityError", [1, 2]),
        ("done", []),
        ("done", [None, None]),
        ("done", [1, 2]),
        ("done", []),
    ]


sys.exit(0 if main(sys.argv[1]) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
