"""A page of a list costs what it shows, however long the list is."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.util import await_only

import group_service
from group_service.model import groups, members, requests
from group_service.model.tables import JoinPolicy, Role, Status, group_join_requests, group_members
from group_service.model.tables import groups as groups_table
from im_common.sql.db import Database
from im_common.testing.plans import Work, check_page, filled_fixtures

MIGRATIONS = Path(group_service.__file__).parent / "migrations"
USER = 1001
SIZE = 20
GROUP = 1001


def _fill(connection: Connection) -> None:
    """A group of two thousand, a user of two thousand groups, and as many requests to join."""
    some = range(2000, 4000)
    many = [(GROUP, one) for one in some] + [(one, USER) for one in some]
    rows = [
        {
            "group_id": group_id,
            "user_id": user_id,
            "role": Role.MEMBER,
            "muted_until": 0,
            "joined_at": group_id,
        }
        for group_id, user_id in many
    ]
    connection.execute(insert(group_members), rows)
    made = [
        {
            "group_id": one,
            "name": "sea",
            "avatar": "",
            "announcement": "",
            "owner_id": USER,
            "join_policy": JoinPolicy.OPEN,
            "muted": False,
            "member_count": 1,
            "created_at": 1,
        }
        for one in some
    ]
    connection.execute(insert(groups_table), made)
    asked = [
        {
            "group_id": GROUP + later,
            "user_id": one,
            "message": "",
            "status": Status.PENDING,
            "pending_user_id": one,
            "created_at": 1,
        }
        for later in range(3)
        for one in some
    ]
    connection.execute(insert(group_join_requests), asked)


PAGES: dict[str, Work] = {
    "groups first": partial(groups.page_of_user, user_id=USER, before=None, limit=SIZE),
    "groups next": partial(groups.page_of_user, user_id=USER, before=(2100, 2100), limit=SIZE),
    "members first": partial(members.page, group_id=GROUP, after=0, limit=SIZE),
    "members next": partial(members.page, group_id=GROUP, after=3000, limit=SIZE),
    "who is told of requests": partial(members.ids, group_id=GROUP, least=Role.ADMIN),
    "requests first": partial(requests.page, group_id=GROUP, before=None, limit=SIZE),
    "requests next": partial(requests.page, group_id=GROUP, before=1000, limit=SIZE),
}


filled_conf, filled = filled_fixtures(MIGRATIONS, _fill)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_costs_what_it_shows(filled: Database, name: str) -> None:
    await check_page(filled, PAGES[name], SIZE)


async def test_the_lock_of_a_group_leaves_the_rows_of_its_members_free(filled: Database) -> None:
    if filled.is_sqlite:
        pytest.skip("one writes at a time")

    def locked(connection: Connection) -> None:
        assert groups.lock(connection, 2000) is not None
        renaming = filled.write(members.change, 2000, USER, nickname="ann")
        await_only(asyncio.wait_for(renaming, 5))

    await filled.write(locked)
