"""A page of a list costs what it shows, however long the list is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

import friend_service
from friend_service.model import blocks, requests
from friend_service.model.tables import Status, blocked_users, friend_requests
from im_common.sql.db import Database
from im_common.testing.plans import Work, check_page, filled_fixtures

MIGRATIONS = Path(friend_service.__file__).parent / "migrations"
USER = 1001
SIZE = 20
NOW = 1_000_000


def _fill(connection: Connection) -> None:
    """Two thousand requests of each status, to and from one user, and as many blocks."""
    others = range(2000, 4000)
    asked = [
        {
            "from_user_id": USER if outgoing else other,
            "to_user_id": other if outgoing else USER,
            "message": "",
            "status": status,
            "pending_low": None,
            "pending_high": None,
            "created_at": NOW - other,
        }
        for outgoing in (False, True)
        for status in Status
        for other in others
    ]
    connection.execute(insert(friend_requests), asked)
    blocked = [{"user_id": USER, "blocked_id": one, "created_at": one} for one in others]
    connection.execute(insert(blocked_users), blocked)


def _requests(status: Status | None, *, incoming: bool, before: tuple[int, int] | None) -> Work:
    return partial(
        requests.page,
        user_id=USER,
        incoming=incoming,
        status=status,
        since=NOW - 3000,
        before=before,
        limit=SIZE,
    )


PAGES: dict[str, Work] = {
    f"{name} {direction} {place}": _requests(status, incoming=direction == "in", before=before)
    for name, status in {"all": None, **{one.name: one for one in Status}}.items()
    for direction in ("in", "out")
    for place, before in {"first": None, "next": (NOW - 3500, 10**9)}.items()
} | {
    "blocks first": partial(blocks.page, user_id=USER, before=None, limit=SIZE),
    "blocks next": partial(blocks.page, user_id=USER, before=(2100, 2100), limit=SIZE),
}


filled_conf, filled = filled_fixtures(MIGRATIONS, _fill)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_costs_what_it_shows(filled: Database, name: str) -> None:
    await check_page(filled, PAGES[name], SIZE)
