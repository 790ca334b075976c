"""A login, a registration and a change look up one account, however many there are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

import auth_service
from auth_service.model import credentials
from auth_service.model.credentials import credentials as accounts
from im_common.sql.db import Database
from im_common.testing.plans import PRIMARY, Work, filled_fixtures, plans, rows_read

MIGRATIONS = Path(auth_service.__file__).parent / "migrations"
# The row, its entry in another index, and what the server reads to tell how much it read.
FEW = 20


def _fill(connection: Connection) -> None:
    """Five thousand accounts; every second one has an email."""
    rows = [
        {
            "username": f"User{n}",
            "username_key": f"user{n}",
            "nickname": "tom",
            "email": f"u{n}@example.org" if n % 2 else "",
            "email_key": f"u{n}@example.org" if n % 2 else None,
            "password_hash": "x" * 60,
            "disabled": n % 10 == 0,
            "has_profile": n % 100 != 0,
            "created_at": n,
        }
        for n in range(5000)
    ]
    connection.execute(insert(accounts), rows)


# SQLite numbers the indexes of unique keys.
BY_USERNAME = {"uq_credentials_username_key", "sqlite_autoindex_credentials_1"}
BY_EMAIL = {"uq_credentials_email_key", "sqlite_autoindex_credentials_2"}
BY_ID = {PRIMARY}

QUERIES: dict[str, tuple[Work, set[str]]] = {
    "by username": (
        partial(credentials.by_username, username_key="user4321"),
        BY_USERNAME,
    ),
    "by a username that nobody has": (
        partial(credentials.by_username, username_key="nobody"),
        BY_USERNAME,
    ),
    "by id": (partial(credentials.by_id, user_id=4321), BY_ID),
    "by email": (
        partial(credentials.has_email, email_key="u4321@example.org"),
        BY_EMAIL,
    ),
    "confirm a profile": (partial(credentials.confirm_profile, user_id=2001), BY_ID),
    "replace a password": (
        partial(credentials.replace_password, user_id=4321, old_hash="x" * 60, new_hash="y" * 60),
        BY_ID,
    ),
    "disable": (partial(credentials.set_disabled, user_id=4321, disabled=True), BY_ID),
}

filled_conf, filled = filled_fixtures(MIGRATIONS, _fill)


@pytest.mark.parametrize("name", QUERIES)
async def test_an_account_is_looked_up(filled: Database, name: str) -> None:
    work, keys = QUERIES[name]
    found = await plans(filled, work)
    assert found
    for one in found:
        # MySQL knows without a plan that a unique key has no such row.
        assert {step.key for step in one.steps} <= keys
        assert one.scans == []
    read = await rows_read(filled, work)
    assert read is None or read <= FEW
