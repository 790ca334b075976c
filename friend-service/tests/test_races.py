"""Two people who do things at the same moment, each on an instance of their own: what is left is a
state that one after the other could have made."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from friend_service.model.tables import Status, blocked_users, friend_requests, friendships
from im_common.errors import AppError, Code
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.people import People, Person

# The fixture's class is that of conftest.py, which tests do not import.
Friends = Any
Start = Callable[..., Awaitable[Friends]]

# What may come out of a race; INTERNAL, UNAVAILABLE and silence may not.
LAWFUL = {
    Code.ALREADY_EXISTS,
    Code.BLOCKED,
    Code.FAILED_PRECONDITION,
    Code.NOT_FRIENDS,
    Code.NOT_FOUND,
    Code.PERMISSION_DENIED,
}
ROUNDS, AT_ONCE = 6, 8


@pytest.fixture
async def instances(start: Start) -> list[Friends]:
    return [await start(), await start()]


async def _something(dice: random.Random, friends: Friends, me: Person, other: Person) -> None:
    async def decide(decision: Callable[[Person, int], Awaitable[None]], out: bool) -> None:
        for request_id in await friends.pending(me, out=out):
            await decision(me, request_id)

    steps: list[tuple[int, Callable[[], Awaitable[Any]]]] = [
        (6, lambda: friends.ask(me, other.user_id)),
        (4, lambda: decide(friends.accept, False)),
        (2, lambda: decide(friends.reject, False)),
        (2, lambda: decide(friends.cancel, True)),
        (2, lambda: friends.unfriend(me, other.user_id)),
        (1, lambda: friends.remark(me, other.user_id, "x")),
        (2, lambda: friends.block(me, other.user_id)),
        (3, lambda: friends.unblock(me, other.user_id)),
    ]
    [step] = dice.choices([step for _, step in steps], [weight for weight, _ in steps])
    try:
        await step()
    except AppError as error:
        if error.code not in LAWFUL:
            raise


async def _check(db: Database, instances: list[Friends], users: list[Person]) -> None:
    """All of the promises, by the tables; and that both instances say what is there."""
    ids = [user.user_id for user in users]

    def read(connection: Connection) -> tuple[list[Any], list[Any], list[Any]]:
        f, b, t = friendships.c, blocked_users.c, friend_requests.c
        is_pending = t.from_user_id.in_(ids) & (t.status == Status.PENDING)
        queries = (
            select(f.user_id, f.friend_id).where(f.user_id.in_(ids)),
            select(b.user_id, b.blocked_id).where(b.user_id.in_(ids)),
            select(t.from_user_id, t.to_user_id).where(is_pending),
        )
        found = [list(connection.execute(query)) for query in queries]
        return found[0], found[1], found[2]

    found, found_blocks, pending = await db.read(read)
    friends, blocks = {tuple(row) for row in found}, {tuple(row) for row in found_blocks}
    assert friends == {(b, a) for a, b in friends}
    assert not friends & (blocks | {(b, a) for a, b in blocks})
    pairs = Counter(frozenset(row) for row in pending)
    assert max(pairs.values(), default=0) <= 1
    for pair in pairs:
        a, b = pair
        assert not {(a, b), (b, a)} & (friends | blocks)
    for instance in instances:
        for a in ids:
            for b in ids:
                if a != b:
                    assert await instance.standing(a, b) == ((b, a) in blocks, (a, b) in friends)
        for user in users:
            expected = sorted(b for a, b in friends if a == user.user_id)
            assert sorted(await instance.friends_of(user)) == expected


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_they_do_at_once_the_state_is_lawful(
    instances: list[Friends], people: People, db: DbConf, seed: int
) -> None:
    dice = random.Random(seed)
    users = await people.several(3)
    database = Database(db)
    for _ in range(ROUNDS):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                me, other = dice.sample(users, 2)
                tasks.create_task(_something(dice, dice.choice(instances), me, other))
        await _check(database, instances, users)
    await database.close()


async def test_both_ask_at_once_and_are_friends(instances: list[Friends], people: People) -> None:
    for _ in range(5):
        ann, bob = await people.several(2)
        answers = await asyncio.gather(
            instances[0].ask(ann, bob.user_id), instances[1].ask(bob, ann.user_id)
        )
        assert sorted(answer.accepted for answer in answers) == [False, True]
        assert answers[0].request_id == answers[1].request_id
        assert await instances[0].friends_of(ann) == [bob.user_id]
        assert await instances[1].friends_of(bob) == [ann.user_id]


async def test_one_of_the_same_request_from_two_devices_is_made(
    instances: list[Friends], people: People
) -> None:
    ann, bob = await people.several(2)
    calls = [instance.ask(ann, bob.user_id) for instance in instances * 4]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    errors = [answer.code for answer in answers if isinstance(answer, AppError)]
    assert errors == [Code.ALREADY_EXISTS] * 7
    assert len(await instances[0].pending(bob)) == 1


async def test_accepting_and_blocking_at_once_leaves_no_friends_across_a_block(
    instances: list[Friends], people: People
) -> None:
    for _ in range(5):
        ann, bob = await people.several(2)
        request_id = (await instances[0].ask(ann, bob.user_id)).request_id
        await asyncio.gather(
            instances[0].accept(bob, request_id),
            instances[1].block(ann, bob.user_id),
            return_exceptions=True,
        )
        assert await instances[0].standing(bob.user_id, ann.user_id) == (True, False)
        assert await instances[1].friends_of(bob) == []
        assert await instances[1].pending(bob) == []


async def test_the_same_acceptance_from_two_devices_is_told_once(
    instances: list[Friends], people: People
) -> None:
    ann, bob = await people.several(2)
    request_id = (await instances[0].ask(ann, bob.user_id)).request_id
    await asyncio.gather(*(one.accept(bob, request_id) for one in instances * 3))
    [last] = people.crowd(1)
    # Something later, so that all there is has come.
    await instances[0].block(ann, last)
    names = [name for name, _ in await instances[0].told(ann.user_id, 2)]
    assert names == ["FriendAccepted", "BlockListChanged"]


async def test_the_limit_of_pending_requests_holds_across_instances(
    start: Start, people: People
) -> None:
    instances = [await start(max_pending_requests=3), await start(max_pending_requests=3)]
    ann = await people.new()
    calls = [
        instance.ask(ann, user_id)
        for instance, user_id in zip(instances * 4, people.crowd(8), strict=True)
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    errors = [answer.code for answer in answers if isinstance(answer, AppError)]
    assert errors == [Code.RATE_LIMITED] * 5
