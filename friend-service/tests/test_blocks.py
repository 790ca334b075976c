"""Block lists, over gRPC."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from friend_service.logic.changes import LEASE_MS
from im.friend.v1 import friend_pb2 as pb
from im_common.errors import Code
from im_common.testing.people import People
from im_common.testing.queries import counted_queries
from im_common.testing.services import call, refusal
from im_common.testing.waiting import eventually

# The fixture's class is that of conftest.py, which tests do not import.
Friends = Any


async def test_a_block_counts_from_its_owner_to_the_blocked_user_only(
    friends: Friends, people: People
) -> None:
    ann, bob = await people.several(2)
    await friends.block(ann, bob.user_id)
    assert await friends.is_blocked(bob.user_id, ann.user_id)
    assert not await friends.is_blocked(ann.user_id, bob.user_id)


async def test_a_block_can_be_taken_back(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    await friends.block(ann, bob.user_id)
    await friends.unblock(ann, bob.user_id)
    assert not await friends.is_blocked(bob.user_id, ann.user_id)
    assert await friends.blocked_by(ann) == []


async def test_taking_back_a_block_that_is_not_there_changes_nothing(
    friends: Friends, people: People
) -> None:
    ann, bob, eve = await people.several(3)
    await friends.block(ann, eve.user_id)
    await friends.unblock(ann, bob.user_id)
    assert await friends.blocked_by(ann) == [eve.user_id]


async def test_blocking_twice_keeps_the_time_of_the_first_block(
    friends: Friends, people: People
) -> None:
    ann, bob = await people.several(2)
    await friends.block(ann, bob.user_id)
    first = (await friends.page(ann)).users
    await friends.block(ann, bob.user_id)
    assert (await friends.page(ann)).users == first


async def test_the_same_block_from_two_devices_at_once_is_one_block(
    friends: Friends, people: People
) -> None:
    ann, bob = await people.several(2)
    await asyncio.gather(*(friends.block(ann, bob.user_id) for _ in range(8)))
    assert await friends.blocked_by(ann) == [bob.user_id]


async def test_nobody_blocks_themselves(friends: Friends, people: People) -> None:
    ann = await people.new()
    error = await refusal(friends.block(ann, ann.user_id))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_id")


async def test_only_users_who_exist_can_be_blocked(friends: Friends, people: People) -> None:
    ann = await people.new()
    assert (await refusal(friends.block(ann, people.stranger()))).code is Code.NOT_FOUND
    assert await friends.blocked_by(ann) == []


async def test_a_block_is_confirmed_when_nobody_relies_on_the_older_answer_any_more(
    friends: Friends, people: People
) -> None:
    ann, bob = await people.several(2)

    async def block() -> tuple[float, float]:
        began_at = time.monotonic()
        await friends.block(ann, bob.user_id)
        return began_at, time.monotonic()

    pair = pb.IsBlockedRequest(user_id=bob.user_id, target_id=ann.user_id)
    request = pb.BatchIsBlockedRequest(pairs=[pair])
    answers: list[bool] = []
    relied_on_until = 0.0
    blocking = asyncio.create_task(block())
    while not blocking.done():
        asked_at = time.monotonic()
        answer = await call(friends.stub.BatchIsBlocked, request, service="chat-service")
        assert answer.lease_ms > 0
        answers += answer.blocked
        if not answer.blocked[0]:
            relied_on_until = asked_at + answer.lease_ms / 1000
    began_at, confirmed_at = blocking.result()
    # Who asks anew knows of it long before.
    assert answers == sorted(answers)
    assert answers[-1]
    assert confirmed_at >= relied_on_until
    assert confirmed_at - began_at >= LEASE_MS / 1000


async def test_the_list_is_the_callers_own(friends: Friends, people: People) -> None:
    ann, bob, eve = await people.several(3)
    await friends.block(ann, eve.user_id)
    await friends.block(bob, ann.user_id)
    assert await friends.blocked_by(ann) == [eve.user_id]
    assert await friends.blocked_by(bob) == [ann.user_id]


async def test_pages_show_everyone_once_newest_first(friends: Friends, people: People) -> None:
    ann = await people.new()
    blocked = people.crowd(7)
    for user_id in blocked:
        await friends.block(ann, user_id)
    seen: list[pb.BlockedUser] = []
    cursor = ""
    for size in (3, 3, 1):
        page = await friends.page(ann, limit=3, cursor=cursor)
        assert len(page.users) == size
        seen += page.users
        cursor = page.next_cursor
    assert cursor == ""
    assert [user.user_id for user in seen] == blocked[::-1]
    times = [user.created_at for user in seen]
    assert times == sorted(times, reverse=True)


async def test_a_page_that_ends_the_list_exactly_has_no_next(
    friends: Friends, people: People
) -> None:
    ann = await people.new()
    for user_id in people.crowd(2):
        await friends.block(ann, user_id)
    assert (await friends.page(ann, limit=2)).next_cursor == ""


async def test_a_page_has_at_most_a_hundred(friends: Friends, people: People) -> None:
    ann = await people.new()
    error = await refusal(friends.page(ann, limit=101))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "limit")


async def test_a_cursor_of_the_clients_own_making_is_refused(
    friends: Friends, people: People
) -> None:
    ann = await people.new()
    for cursor in ("nonsense", "WzFd", "eyJhIjoxfQ"):
        error = await refusal(friends.page(ann, cursor=cursor))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "cursor")


async def test_many_pairs_are_answered_in_order(friends: Friends, people: People) -> None:
    ann, bob, eve = await people.several(3)
    await friends.block(ann, bob.user_id)
    await friends.block(eve, ann.user_id)
    pairs = [
        (bob.user_id, ann.user_id),
        (ann.user_id, bob.user_id),
        (ann.user_id, eve.user_id),
        (bob.user_id, ann.user_id),
        (eve.user_id, bob.user_id),
    ]
    # From the database, by one query for all that Redis does not know.
    with counted_queries() as queries:
        assert await friends.are_blocked(*pairs) == [True, False, True, True, False]
    asked = [query for query in queries if "blocked_users" in query]
    # Lists that are loaded meanwhile are in order.
    assert len([query for query in asked if "ORDER BY" not in query]) == 1

    async def costs_no_query() -> bool:
        with counted_queries() as queries:
            assert await friends.are_blocked(*pairs) == [True, False, True, True, False]
        return not any("blocked_users" in query for query in queries)

    # From Redis, soon.
    await eventually(costs_no_query)


async def test_a_thousand_pairs_are_answered_and_no_more(friends: Friends) -> None:
    assert await friends.are_blocked() == []
    assert await friends.are_blocked(*((n, n + 1) for n in range(1, 1001))) == [False] * 1000
    error = await refusal(friends.are_blocked(*((n, n + 1) for n in range(1, 1002))))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "pairs")


async def test_only_services_may_ask_who_is_blocked(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    request = pb.IsBlockedRequest(user_id=ann.user_id, target_id=bob.user_id)
    as_user = await refusal(call(friends.stub.IsBlocked, request, token=ann.token))
    assert as_user.code is Code.PERMISSION_DENIED
    as_nobody = await refusal(call(friends.stub.IsBlocked, request))
    assert as_nobody.code is Code.UNAUTHENTICATED


async def test_nobody_gets_in_without_a_session(friends: Friends, people: People) -> None:
    bob, gone = await people.several(2)
    await people.end_session(gone)
    request = pb.BlockUserRequest(user_id=bob.user_id)
    refused = await refusal(call(friends.stub.BlockUser, request))
    assert refused.code is Code.UNAUTHENTICATED
    refused = await refusal(call(friends.stub.BlockUser, request, token="made.up.token"))
    assert refused.code is Code.UNAUTHENTICATED
    refused = await refusal(call(friends.stub.BlockUser, request, token=gone.token))
    assert refused.code is Code.SESSION_REVOKED


async def test_a_service_may_not_block_for_a_user(friends: Friends, people: People) -> None:
    bob = await people.new()
    request = pb.BlockUserRequest(user_id=bob.user_id)
    refused = await refusal(call(friends.stub.BlockUser, request, service="chat-service"))
    assert refused.code is Code.UNAUTHENTICATED
