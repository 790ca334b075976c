"""The copies of lists in Redis: right after every change, when a change and a read cross, and after
whatever happens to Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from friend_service.model.cache import MOST_MEMBERS, Kind, Lists
from im_common.errors import AppError, Code
from im_common.runtime.redis_client import open_redis
from im_common.runtime.sections import RedisConf
from im_common.testing.people import People
from im_common.testing.ports import free_port
from im_common.testing.queries import counted_queries
from im_common.testing.services import refusal
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually

# The fixture's class is that of conftest.py, which tests do not import.
Friends = Any

OWNER, B, C = 7, 8, 9
LIST = (Kind.BLOCKS, OWNER)
ABOUT_B = (Kind.BLOCKS, OWNER, B)
ABOUT_C = (Kind.BLOCKS, OWNER, C)


@pytest.fixture
def lists(redis: Redis) -> Lists:
    return Lists(redis)


async def _load(lists: Lists, *members: int) -> None:
    token, claimed = await lists.claim([LIST])
    assert claimed == [LIST]
    await lists.store(token, {LIST: members})


async def test_what_was_stored_is_known_and_nothing_else(lists: Lists) -> None:
    assert await lists.look([ABOUT_B]) == [None]
    await _load(lists, B)
    assert await lists.look([ABOUT_B, ABOUT_C, (Kind.FRIENDS, OWNER, B)]) == [True, False, None]


async def test_an_empty_list_and_a_long_one_are_known(lists: Lists) -> None:
    await _load(lists)
    assert await lists.look([ABOUT_B]) == [False]
    async with lists.changing([LIST]):
        pass
    await _load(lists, *range(B, B + MOST_MEMBERS))
    last = (Kind.BLOCKS, OWNER, B + MOST_MEMBERS - 1)
    assert await lists.look([ABOUT_B, last, (Kind.BLOCKS, OWNER, 1)]) == [True, True, False]


async def test_a_list_that_is_being_changed_is_not_known(lists: Lists) -> None:
    await _load(lists, B)
    async with lists.changing([LIST]):
        assert await lists.look([ABOUT_B]) == [None]
        # Nor can it be loaded.
        assert (await lists.claim([LIST]))[1] == []
    assert await lists.look([ABOUT_B]) == [None]
    await _load(lists, C)
    assert await lists.look([ABOUT_B, ABOUT_C]) == [False, True]


async def test_who_read_before_a_change_does_not_store_after_it(lists: Lists) -> None:
    token, _ = await lists.claim([LIST])
    # Reads B here.
    async with lists.changing([LIST]):
        await lists.store(token, {LIST: [B]})
        assert await lists.look([ABOUT_B]) == [None]
    await lists.store(token, {LIST: [B]})
    assert await lists.look([ABOUT_B]) == [None]
    await _load(lists, C)


async def test_two_changes_at_once_are_both_waited_for(lists: Lists) -> None:
    async with lists.changing([LIST]):
        async with lists.changing([LIST]):
            pass
        assert (await lists.claim([LIST]))[1] == []
    await _load(lists, B)


async def test_of_two_who_read_one_stores(lists: Lists) -> None:
    first, claimed = await lists.claim([LIST])
    assert claimed == [LIST]
    second, claimed = await lists.claim([LIST])
    assert claimed == []
    await lists.store(second, {LIST: [B]})
    assert await lists.look([ABOUT_B]) == [None]
    await lists.store(first, {LIST: [C]})
    assert await lists.look([ABOUT_B, ABOUT_C]) == [False, True]


async def test_a_change_that_was_refused_leaves_nothing_behind(lists: Lists) -> None:
    with pytest.raises(AppError):
        async with lists.changing([LIST]):
            raise AppError(Code.BLOCKED, "no")
    await _load(lists, B)


async def test_after_a_change_of_unknown_outcome_all_ask_the_database(
    lists: Lists, redis: Redis
) -> None:
    with pytest.raises(ConnectionError):
        async with lists.changing([LIST]):
            raise ConnectionError("cut off at the commit")
    assert (await lists.claim([LIST]))[1] == []
    # Not for ever.
    assert 0 < await redis.pttl("blocks:7") <= 10_000


async def test_what_an_earlier_server_left_behind_does_not_count(
    lists: Lists, redis: Redis
) -> None:
    """As after a failover to a replica that has not got the last writes."""
    await redis.sadd("blocks:7", "f" * 40, B)
    assert await lists.look([ABOUT_B]) == [None]
    await _load(lists, C)
    assert await lists.look([ABOUT_B, ABOUT_C]) == [False, True]


async def test_without_redis_nothing_is_known_and_nothing_is_changed() -> None:
    client = open_redis(RedisConf(host=f"127.0.0.1:{free_port()}"))
    lists = Lists(client)
    assert await lists.look([ABOUT_B, ABOUT_C]) == [None, None]
    assert (await lists.claim([LIST]))[1] == []
    await lists.store("t", {LIST: [B]})
    changed = False
    with pytest.raises(redis_errors.ConnectionError):
        async with lists.changing([LIST]):
            changed = True
    assert not changed
    await client.aclose()


async def test_copies_are_right_after_every_change(friends: Friends, people: People) -> None:
    ann, bob = await people.several(2)

    async def is_now(blocked: bool, are_friends: bool) -> None:
        """At once, and when it comes from Redis."""
        assert await friends.standing(bob.user_id, ann.user_id) == (blocked, are_friends)
        lists, about = Lists(friends.redis), [Kind.BLOCKS, Kind.FRIENDS]
        questions = [(kind, ann.user_id, bob.user_id) for kind in about]

        async def loaded() -> bool:
            return None not in await lists.look(questions)

        await eventually(loaded)
        assert await friends.standing(bob.user_id, ann.user_id) == (blocked, are_friends)

    await is_now(False, False)
    request_id = (await friends.ask(ann, bob.user_id)).request_id
    await is_now(False, False)
    await friends.accept(bob, request_id)
    await is_now(False, True)
    await friends.unfriend(ann, bob.user_id)
    await is_now(False, False)
    await friends.befriend(bob, ann)
    await friends.block(ann, bob.user_id)
    await is_now(True, False)
    await friends.unblock(ann, bob.user_id)
    await is_now(False, False)


async def test_answers_are_right_when_redis_has_lost_everything(
    friends: Friends, people: People, redis: Redis
) -> None:
    ann, bob = await people.several(2)
    await friends.befriend(ann, bob)
    assert await friends.standing(bob.user_id, ann.user_id) == (False, True)
    await redis.flushall()
    assert await friends.standing(bob.user_id, ann.user_id) == (False, True)


@pytest.fixture
async def silent(valkey: ValkeyServer) -> AsyncIterator[ValkeyServer]:
    """A server that can be frozen."""
    yield valkey
    valkey.thaw()


async def test_services_are_answered_while_redis_is_silent(
    friends: Friends, people: People, silent: ValkeyServer
) -> None:
    ann, bob = await people.several(2)
    await friends.befriend(ann, bob)
    silent.freeze()
    # Within the time that a batch of messages gives.
    asked = friends.standing(bob.user_id, ann.user_id, timeout_s=2)
    assert await asked == (False, True)
    refused = await refusal(friends.block(ann, bob.user_id))
    assert refused.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    silent.thaw()
    assert await friends.standing(bob.user_id, ann.user_id) == (False, True)


async def test_whole_lists_are_known_when_they_were_stored(lists: Lists, redis: Redis) -> None:
    other = (Kind.BLOCKS, B)
    await _load(lists, 10, C)
    assert await lists.whole([LIST, other]) == {LIST: [C, 10]}
    async with lists.changing([LIST]):
        assert await lists.whole([LIST, other]) == {}
    await _load(lists)
    assert await lists.whole([LIST]) == {LIST: []}
    # What an earlier server left behind does not count.
    await redis.sadd("blocks:8", "f" * 40, C)
    assert await lists.whole([other]) == {}


async def test_lists_of_friends_come_from_the_database_once(
    friends: Friends, people: People
) -> None:
    ann, bob, eve = await people.several(3)
    await friends.befriend(ann, bob)
    ids = [ann.user_id, eve.user_id, bob.user_id, ann.user_id]
    wanted = [[bob.user_id], [], [ann.user_id], [bob.user_id]]
    with counted_queries() as statements:
        assert await friends.friend_ids(*ids) == wanted
    assert len(_of_lists(statements)) == 1

    async def costs_no_query() -> bool:
        with counted_queries() as statements:
            assert await friends.friend_ids(*ids) == wanted
        return not _of_lists(statements)

    # At once, but where Redis has no turn in time.
    await eventually(costs_no_query)
    await friends.befriend(eve, bob)
    assert await friends.friend_ids(*ids) == [
        [bob.user_id],
        [bob.user_id],
        sorted([ann.user_id, eve.user_id]),
        [bob.user_id],
    ]
    await friends.block(ann, bob.user_id)
    assert await friends.friend_ids(*ids) == [[], [bob.user_id], [eve.user_id], []]


def _of_lists(statements: list[str]) -> list[str]:
    return [text for text in statements if "FROM friendships" in text]


async def test_lists_of_friends_are_given_without_redis(
    friends: Friends, people: People, silent: ValkeyServer
) -> None:
    ann, bob = await people.several(2)
    await friends.befriend(ann, bob)
    assert await friends.friend_ids(ann.user_id) == [[bob.user_id]]
    silent.freeze()
    for _ in range(2):
        assert await friends.friend_ids(ann.user_id, bob.user_id) == [[bob.user_id], [ann.user_id]]
    silent.thaw()
    await friends.redis.flushall()
    assert await friends.friend_ids(ann.user_id) == [[bob.user_id]]
