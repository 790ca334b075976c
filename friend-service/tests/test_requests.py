"""Friend requests, over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import update

from friend_service.logic.requests import DAY_MS
from friend_service.model.tables import friend_requests
from im_common.errors import Code
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.people import People
from im_common.testing.services import refusal

# The fixture's class is that of conftest.py, which tests do not import.
Friends = Any
Start = Callable[..., Awaitable[Friends]]


async def test_who_is_asked_and_accepts_is_a_friend(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    people.nicknames[ann.user_id] = "Ann"
    request_id = (await friends.ask(ann, bob.user_id, " hello\n you ")).request_id
    assert await friends.friends_of(ann) == []
    await friends.accept(bob, request_id)
    assert await friends.friends_of(ann) == [bob.user_id]
    assert await friends.friends_of(bob) == [ann.user_id]
    assert await friends.told(bob.user_id, 2) == [
        (
            "NewFriendRequest",
            {
                "request_id": request_id,
                "from_user_id": ann.user_id,
                "username": f"user{ann.user_id}",
                "nickname": "Ann",
                "avatar": f"user{ann.user_id}.png",
                "message": "hello\n you",
            },
        ),
        ("FriendAccepted", {"request_id": request_id, "user_id": ann.user_id}),
    ]
    assert await friends.told(ann.user_id, 1) == [
        ("FriendAccepted", {"request_id": request_id, "user_id": bob.user_id})
    ]


async def test_who_rejects_is_no_friend_and_may_be_asked_again(
    friends: Friends, people: People
) -> None:
    ann, bob = await people.several(2)
    request_id = (await friends.ask(ann, bob.user_id)).request_id
    await friends.reject(bob, request_id)
    assert await friends.friends_of(ann) == []
    told = ("FriendRejected", {"request_id": request_id, "user_id": bob.user_id})
    assert await friends.told(ann.user_id, 1) == [told]
    again = (await friends.ask(ann, bob.user_id)).request_id
    assert again != request_id
    assert await friends.pending(bob) == [again]


async def test_a_request_can_be_taken_back(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    request_id = (await friends.ask(ann, bob.user_id)).request_id
    await friends.cancel(ann, request_id)
    await friends.cancel(ann, request_id)
    assert await friends.pending(bob) == []
    assert (await friends.told(bob.user_id, 2))[1:] == [
        ("FriendRequestCancelled", {"request_id": request_id, "from_user_id": ann.user_id})
    ]
    assert (await refusal(friends.accept(bob, request_id))).code is Code.FAILED_PRECONDITION
    assert await friends.friends_of(bob) == []


async def test_asking_who_has_asked_makes_friends(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    first = await friends.ask(ann, bob.user_id)
    second = await friends.ask(bob, ann.user_id)
    assert (first.accepted, second.accepted) == (False, True)
    assert second.request_id == first.request_id
    assert await friends.friends_of(ann) == [bob.user_id]
    assert await friends.friends_of(bob) == [ann.user_id]
    assert await friends.pending(ann) == []
    assert [name for name, _ in await friends.told(ann.user_id, 1)] == ["FriendAccepted"]


async def test_deciding_twice_changes_nothing_and_the_opposite_is_refused(
    friends: Friends, people: People
) -> None:
    ann, bob, eve = await people.several(3)
    accepted = (await friends.ask(ann, bob.user_id)).request_id
    rejected = (await friends.ask(eve, bob.user_id)).request_id
    for _ in range(2):
        await friends.accept(bob, accepted)
        await friends.reject(bob, rejected)
    assert (await refusal(friends.reject(bob, accepted))).code is Code.FAILED_PRECONDITION
    assert (await refusal(friends.accept(bob, rejected))).code is Code.FAILED_PRECONDITION
    assert (await refusal(friends.cancel(ann, accepted))).code is Code.FAILED_PRECONDITION
    assert (await refusal(friends.cancel(eve, rejected))).code is Code.FAILED_PRECONDITION
    assert await friends.friends_of(bob) == [ann.user_id]
    assert len(await friends.told(ann.user_id, 1)) == 1
    # A friendship that has ended does not come back by it.
    await friends.unfriend(ann, bob.user_id)
    await friends.accept(bob, accepted)
    assert await friends.friends_of(bob) == []


async def test_only_who_was_asked_decides(friends: Friends, people: People) -> None:
    ann, bob, eve = await people.several(3)
    request_id = (await friends.ask(ann, bob.user_id)).request_id
    for decide in (friends.accept, friends.reject):
        assert (await refusal(decide(ann, request_id))).code is Code.PERMISSION_DENIED
        assert (await refusal(decide(eve, request_id))).code is Code.NOT_FOUND
        assert (await refusal(decide(bob, request_id + 10_000))).code is Code.NOT_FOUND
    assert (await refusal(friends.cancel(bob, request_id))).code is Code.PERMISSION_DENIED
    assert (await refusal(friends.cancel(eve, request_id))).code is Code.NOT_FOUND
    assert await friends.pending(bob) == [request_id]


async def test_who_cannot_be_asked(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    error = await refusal(friends.ask(ann, ann.user_id))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_id")
    error = await refusal(friends.ask(ann, people.stranger()))
    assert (error.code, error.field) == (Code.NOT_FOUND, "user_id")
    error = await refusal(friends.ask(ann, bob.user_id, "x" * 257))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "message")
    await friends.ask(ann, bob.user_id, "x" * 256)
    assert (await refusal(friends.ask(ann, bob.user_id))).code is Code.ALREADY_EXISTS
    await friends.ask(bob, ann.user_id)
    assert (await refusal(friends.ask(ann, bob.user_id))).code is Code.ALREADY_EXISTS


async def test_a_block_stops_requests_of_both(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    await friends.block(ann, bob.user_id)
    assert (await refusal(friends.ask(bob, ann.user_id))).code is Code.BLOCKED
    assert (await refusal(friends.ask(ann, bob.user_id))).code is Code.FAILED_PRECONDITION
    await friends.unblock(ann, bob.user_id)
    await friends.ask(bob, ann.user_id)


async def test_so_many_requests_may_be_pending(start: Start, people: People) -> None:
    friends = await start(max_pending_requests=2)
    ann, bob, eve = await people.several(3)
    first = (await friends.ask(ann, bob.user_id)).request_id
    await friends.ask(ann, eve.user_id)
    [third] = people.crowd(1)
    error = await refusal(friends.ask(ann, third))
    assert error.code is Code.RATE_LIMITED
    assert 29 * DAY_MS < (error.retry_after_ms or 0) <= 30 * DAY_MS
    # Those that others make do not count, and what is decided counts no more.
    await friends.ask(bob, eve.user_id)
    await friends.reject(bob, first)
    await friends.ask(ann, third)


async def test_a_request_expires(friends: Friends, people: People, db: DbConf) -> None:
    ann, bob = await people.several(2)
    request_id = (await friends.ask(ann, bob.user_id)).request_id
    await _age(db, request_id, 30 * DAY_MS)
    assert await friends.pending(bob) == []
    [expired] = (await friends.requests(bob, status="expired")).requests
    assert (expired.request_id, expired.status) == (request_id, "expired")
    assert (await refusal(friends.accept(bob, request_id))).code is Code.FAILED_PRECONDITION
    await friends.cancel(ann, request_id)
    # The other way it is no acceptance.
    answer = await friends.ask(bob, ann.user_id)
    assert not answer.accepted
    assert await friends.pending(ann) == [answer.request_id]
    [still] = (await friends.requests(bob, status="expired")).requests
    assert still.request_id == request_id


async def test_requests_are_listed_newest_first_with_the_other_ones_name(
    friends: Friends, people: People
) -> None:
    ann, *others = await people.several(5)
    people.nicknames[others[0].user_id] = "First"
    ids = [(await friends.ask(other, ann.user_id, "hi")).request_id for other in others]
    [sent] = (await friends.requests(others[0], out=True)).requests
    assert (sent.username, sent.from_user_id) == (f"user{ann.user_id}", others[0].user_id)
    first = await friends.requests(ann, limit=2)
    second = await friends.requests(ann, limit=2, cursor=first.next_cursor)
    assert second.next_cursor == ""
    found = [*first.requests, *second.requests]
    assert [one.request_id for one in found] == ids[::-1]
    assert (found[-1].nickname, found[-1].message, found[-1].status) == ("First", "hi", "pending")
    assert (found[-1].avatar, found[-1].to_user_id) == (
        f"user{others[0].user_id}.png",
        ann.user_id,
    )
    assert await friends.pending(ann, out=True) == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [("", [3]), ("pending", [3]), ("accepted", [0]), ("rejected", [1]), ("cancelled", [2])],
)
async def test_requests_are_listed_by_what_became_of_them(
    friends: Friends, people: People, status: str, expected: list[int]
) -> None:
    ann, *others = await people.several(5)
    ids = [(await friends.ask(other, ann.user_id)).request_id for other in others]
    await friends.accept(ann, ids[0])
    await friends.reject(ann, ids[1])
    await friends.cancel(others[2], ids[2])
    found = (await friends.requests(ann, status=status)).requests
    assert [one.request_id for one in found] == [ids[number] for number in expected]
    everything = (await friends.requests(ann, status="all")).requests
    assert [one.request_id for one in everything] == ids[::-1]
    error = await refusal(friends.requests(ann, status="odd"))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "status")


async def _age(conf: DbConf, request_id: int, by_ms: int) -> None:
    database = Database(conf)
    table = friend_requests
    query = update(table).where(table.c.request_id == request_id)
    older = query.values(created_at=table.c.created_at - by_ms)
    await database.write(lambda connection: connection.execute(older).close())
    await database.close()


async def test_a_repeat_is_told_what_the_first_call_did(friends: Friends, people: People) -> None:
    ann, bob, eve = await people.several(3)
    first = await friends.ask(ann, bob.user_id)
    assert await friends.ask(ann, bob.user_id, is_repeat=True) == first
    await friends.ask(eve, ann.user_id)
    accepted = await friends.ask(ann, eve.user_id)
    assert accepted.accepted
    assert await friends.ask(ann, eve.user_id, is_repeat=True) == accepted
    assert (await refusal(friends.ask(ann, eve.user_id))).code is Code.ALREADY_EXISTS


async def test_a_repeat_of_what_was_not_done_is_done(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)
    made = await friends.ask(ann, bob.user_id, is_repeat=True)
    assert await friends.pending(bob) == [made.request_id]
