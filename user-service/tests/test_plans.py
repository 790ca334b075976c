"""A page of a list costs what it shows, however long the list is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

import user_service
from im_common.sql.db import Database
from im_common.testing.plans import Work, check_page, filled_fixtures
from user_service.model import users
from user_service.model.users import users as users_table

MIGRATIONS = Path(user_service.__file__).parent / "migrations"
SIZE = 20


def _fill(connection: Connection) -> None:
    """Four thousand users, half of them of one nickname, and before them two thousand who were
    disabled, of names like theirs."""
    names = [(n, f"user{n}", "tom" if n % 2 else f"nick{n}", False) for n in range(2000, 6000)]
    names += [(n, f"use0{n}", f"nick0{n}", True) for n in range(6000, 8000)]
    rows = [
        {
            "user_id": number,
            "username": username,
            "username_key": username,
            "nickname": nickname,
            "nickname_key": nickname,
            "email": "",
            "avatar": "",
            "gender": 0,
            "signature": "",
            "birthday": "",
            "ext": "{}",
            "presence_hidden": False,
            "disabled": disabled,
            "created_at": 1,
            "updated_at": 1,
        }
        for number, username, nickname, disabled in names
    ]
    connection.execute(insert(users_table), rows)


def _nicknames(prefix: str, after: tuple[str, int]) -> Work:
    return partial(
        users.by_nickname_prefix,
        prefix=prefix,
        after=after,
        without=[],
        without_username_prefix=prefix,
        limit=SIZE,
    )


def _usernames(after: str, prefix: str = "user") -> Work:
    return partial(users.by_username_prefix, prefix=prefix, after=after, without=[], limit=SIZE)


PAGES: dict[str, Work] = {
    "usernames first": _usernames(""),
    "usernames next": _usernames("user4000"),
    "usernames behind disabled ones": _usernames("", "use"),
    "nicknames first": _nicknames("nick", ("", 0)),
    "nicknames next": _nicknames("nick", ("nick4000", 4000)),
    "one nickname first": _nicknames("tom", ("", 0)),
    "one nickname next": _nicknames("tom", ("tom", 5001)),
}


filled_conf, filled = filled_fixtures(MIGRATIONS, _fill)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_costs_what_it_shows(filled: Database, name: str) -> None:
    await check_page(filled, PAGES[name], SIZE)
