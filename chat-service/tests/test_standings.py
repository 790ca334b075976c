"""Which groups users are in, as the gateways ask that they come to."""

from __future__ import annotations

from typing import Any

from chat_service.logic.standings import MOST_USERS, list_group_standings
from im_common.errors import Code
from im_common.testing.queries import counted_queries
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003


async def test_the_groups_of_many_users_cost_one_query(desk: Any) -> None:
    await desk.make(5, A, B)
    await desk.make(6, A)
    await desk.say(A, 0, "x", group=5)
    await desk.say(A, 0, "x", group=6)
    await desk.say(A, C, "not a group")
    with counted_queries() as statements:
        found = await list_group_standings(desk.svc, [A, B, C, A])
    groups = {user: sorted(group.conversation_id for group in of) for user, of in found.items()}
    assert groups == {A: ["g:5", "g:6"], B: ["g:5"]}
    assert len([text for text in statements if text.startswith("SELECT")]) == 1


async def test_nobody_is_in_no_group_and_too_many_are_refused(desk: Any) -> None:
    with counted_queries() as statements:
        assert await list_group_standings(desk.svc, []) == {}
    assert not [text for text in statements if text.startswith("SELECT")]
    assert await list_group_standings(desk.svc, range(MOST_USERS)) == {}
    error = await refusal(list_group_standings(desk.svc, range(MOST_USERS + 1)))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_ids")


async def test_no_list_is_so_long_that_mariadb_reads_all_conversations_of_its_users(
    desk: Any,
) -> None:
    """From a thousand values on it takes the list for a table, and the groups by none but the user."""
    users = range(A, A + MOST_USERS)
    await desk.make(5, users[0])
    await desk.make(6, users[-1])
    await desk.say(users[0], 0, "x", group=5)
    await desk.say(users[-1], 0, "x", group=6)
    with counted_queries() as statements:
        found = await list_group_standings(desk.svc, users)
    assert [group.conversation_id for of in found.values() for group in of] == ["g:5", "g:6"]
    assert max(text.count("?") + text.count("%s") for text in statements) < 1000
