"""Lists of friends, over gRPC."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from friend_service.logic.changes import LEASE_MS
from im_common.domain.paging import write_cursor
from im_common.errors import Code
from im_common.testing.people import LAST_SEEN, People, Person
from im_common.testing.services import refusal

# The fixture's class is that of conftest.py, which tests do not import.
Friends = Any


async def _circle(friends: Friends, people: People, *names: str) -> tuple[Person, list[Person]]:
    """Somebody with friends of these nicknames."""
    ann, *others = await people.several(1 + len(names))
    for other, name in zip(others, names, strict=True):
        people.nicknames[other.user_id] = name
        await friends.befriend(ann, other)
    return ann, others


async def _names(
    friends: Friends, person: Person, limit: int, cursor: str
) -> tuple[list[str], str]:
    page = await friends.friend_page(person, limit=limit, cursor=cursor)
    return [friend.remark or friend.nickname for friend in page.friends], page.next_cursor


async def _forget_orders(friends: Friends) -> None:
    async for key in friends.redis.scan_iter("friends:order:*"):
        await friends.redis.delete(key)


async def test_a_friend_is_shown_with_name_picture_and_presence(
    friends: Friends, people: People
) -> None:
    ann, [bob, eve] = await _circle(friends, people, "Bob", "eve")
    people.online.add(bob.user_id)
    await friends.remark(ann, eve.user_id, " Evi ")
    first, second = (await friends.friend_page(ann)).friends
    assert (first.user_id, first.username, first.nickname, first.avatar) == (
        bob.user_id,
        f"user{bob.user_id}",
        "Bob",
        f"user{bob.user_id}.png",
    )
    assert (first.remark, first.online, first.last_seen) == ("", True, LAST_SEEN)
    assert abs(first.created_at / 1000 - time.time()) < 60
    assert (second.nickname, second.remark, second.online) == ("eve", "Evi", False)
    # A remark is its owner's alone.
    [seen_by_eve] = (await friends.friend_page(eve)).friends
    assert seen_by_eve.remark == ""


async def test_friends_are_in_the_order_of_remark_or_nickname(
    friends: Friends, people: People
) -> None:
    ann, others = await _circle(friends, people, "zoe", "Bob", "ａnton", "bob", "\u5f20\u4f1f")
    await friends.remark(ann, others[0].user_id, "Aaron")
    expected = ["Aaron", "ａnton", "Bob", "bob", "\u5f20\u4f1f"]
    assert (await _names(friends, ann, 100, ""))[0] == expected
    await friends.remark(ann, others[0].user_id, "")
    assert (await _names(friends, ann, 100, ""))[0] == [*expected[1:4], "zoe", expected[4]]


async def test_pages_show_everyone_once_whoever_is_renamed_in_between(
    friends: Friends, people: People
) -> None:
    ann, others = await _circle(friends, people, "a", "b", "c", "d", "e")
    first, cursor = await _names(friends, ann, 2, "")
    people.nicknames[others[0].user_id] = "z"
    people.nicknames[others[4].user_id] = "0"
    await friends.remark(ann, others[3].user_id, "00")
    second, cursor = await _names(friends, ann, 2, cursor)
    third, cursor = await _names(friends, ann, 2, cursor)
    assert (first, second, third, cursor) == (["a", "b"], ["c", "00"], ["0"], "")


async def test_a_list_that_begins_anew_knows_every_change(friends: Friends, people: People) -> None:
    ann, others = await _circle(friends, people, "a", "b", "c")
    assert (await _names(friends, ann, 2, ""))[0] == ["a", "b"]
    await friends.unfriend(ann, others[0].user_id)
    assert (await _names(friends, ann, 2, ""))[0] == ["b", "c"]
    await friends.befriend(others[0], ann)
    assert (await _names(friends, ann, 2, ""))[0] == ["a", "b"]
    await friends.block(others[1], ann.user_id)
    assert (await _names(friends, ann, 2, ""))[0] == ["a", "c"]


async def test_who_is_deleted_in_between_is_not_shown(friends: Friends, people: People) -> None:
    ann, others = await _circle(friends, people, "a", "b", "c", "d", "e")
    first, cursor = await _names(friends, ann, 2, "")
    for deleted in (others[1], others[2], others[3]):
        await friends.unfriend(ann, deleted.user_id)
    second, cursor = await _names(friends, ann, 2, cursor)
    third, cursor = await _names(friends, ann, 2, cursor)
    assert (first, second, third, cursor) == (["a", "b"], [], ["e"], "")


async def test_pages_go_on_when_redis_has_lost_the_order(friends: Friends, people: People) -> None:
    ann, others = await _circle(friends, people, "a", "b", "c", "d", "e")
    first, cursor = await _names(friends, ann, 2, "")
    await _forget_orders(friends)
    second, cursor = await _names(friends, ann, 2, cursor)
    await friends.unfriend(ann, others[3].user_id)
    await _forget_orders(friends)
    third, cursor = await _names(friends, ann, 2, cursor)
    assert (first, second, third, cursor) == (["a", "b"], ["c", "d"], ["e"], "")


async def test_the_order_is_made_once_for_all_pages(friends: Friends, people: People) -> None:
    ann, _ = await _circle(friends, people, "a", "b", "c", "d")
    people.calls.clear()
    _, cursor = await _names(friends, ann, 2, "")
    await _names(friends, ann, 2, cursor)
    await _names(friends, ann, 2, "")
    assert people.calls["GetNames"] == 1


async def test_a_cursor_of_the_clients_own_making_is_refused(
    friends: Friends, people: People
) -> None:
    ann, _ = await _circle(friends, people, "a")
    bad = [
        "x",
        write_cursor(1, 2),
        write_cursor("a:b", 0, "a", 1),
        write_cursor("0" * 16, -1, "a", 1),
        write_cursor("0" * 16, 2**40, "a", 1),
        write_cursor("0" * 16, 1, "a", 2**70),
    ]
    for cursor in bad:
        error = await refusal(friends.friend_page(ann, cursor=cursor))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "cursor"), cursor
    error = await refusal(friends.friend_page(ann, limit=101))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "limit")
    # One that leads nowhere any more goes on after its name.
    gone = write_cursor("0" * 16, 7, "", 0)
    assert (await _names(friends, ann, 2, gone))[0] == ["a"]


async def test_a_deleted_friend_is_gone_on_both_sides(friends: Friends, people: People) -> None:
    ann, [bob, eve] = await _circle(friends, people, "b", "e")
    await friends.unfriend(bob, ann.user_id)
    assert await friends.friends_of(ann) == [eve.user_id]
    assert await friends.friends_of(bob) == []
    # Again, nothing happens.
    await friends.unfriend(bob, ann.user_id)
    await friends.unfriend(ann, bob.user_id)
    events = [event for event in await friends.told(bob.user_id, 3) if event[0] == "FriendDeleted"]
    assert events == [("FriendDeleted", {"user_id": ann.user_id})]
    told = await friends.told(ann.user_id, 3)
    assert told[2:] == [("FriendDeleted", {"user_id": bob.user_id})]


async def test_only_friends_are_renamed(friends: Friends, people: People) -> None:
    ann, [bob] = await _circle(friends, people, "b")
    eve = await people.new()
    assert (await refusal(friends.remark(ann, eve.user_id, "x"))).code is Code.NOT_FRIENDS
    error = await refusal(friends.remark(ann, bob.user_id, "x" * 65))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "remark")
    await friends.remark(ann, bob.user_id, "x" * 64)


async def test_a_block_ends_the_friendship_and_what_is_pending(
    friends: Friends, people: People
) -> None:
    ann, [bob] = await _circle(friends, people, "b")
    eve, dan = await people.several(2)
    of_ann = (await friends.ask(ann, eve.user_id)).request_id
    of_dan = (await friends.ask(dan, ann.user_id)).request_id
    for blocked in (bob, eve, dan):
        await friends.block(ann, blocked.user_id)
    await friends.block(ann, bob.user_id)
    assert await friends.friends_of(ann) == await friends.friends_of(bob) == []
    assert await friends.pending(eve) == await friends.pending(dan, out=True) == []
    assert (await friends.told(ann.user_id, 6))[2:] == [
        ("BlockListChanged", {"user_id": bob.user_id, "blocked": True}),
        ("FriendDeleted", {"user_id": bob.user_id}),
        ("BlockListChanged", {"user_id": eve.user_id, "blocked": True}),
        ("BlockListChanged", {"user_id": dan.user_id, "blocked": True}),
    ]
    assert (await friends.told(bob.user_id, 3))[2:] == [("FriendDeleted", {"user_id": ann.user_id})]
    cancelled = ("FriendRequestCancelled", {"request_id": of_ann, "from_user_id": ann.user_id})
    assert (await friends.told(eve.user_id, 2))[1:] == [cancelled]
    assert await friends.told(dan.user_id, 1) == [
        ("FriendRejected", {"request_id": of_dan, "user_id": ann.user_id})
    ]


async def test_who_is_blocked_is_listed_with_name_and_picture(
    friends: Friends, people: People
) -> None:
    ann, bob = await people.several(2)
    people.nicknames[bob.user_id] = "Bob"
    await friends.block(ann, bob.user_id)
    [blocked] = (await friends.page(ann)).users
    assert (blocked.username, blocked.nickname, blocked.avatar) == (
        f"user{bob.user_id}",
        "Bob",
        f"user{bob.user_id}.png",
    )


async def test_services_learn_who_are_friends(friends: Friends, people: People) -> None:
    ann, [bob, eve] = await _circle(friends, people, "b", "e")
    assert await friends.friend_ids(bob.user_id, ann.user_id, people.stranger()) == [
        [ann.user_id],
        sorted([bob.user_id, eve.user_id]),
        [],
    ]
    assert await friends.standing(ann.user_id, bob.user_id) == (False, True)
    assert await friends.standing(eve.user_id, bob.user_id) == (False, False)
    error = await refusal(friends.friend_ids(*range(1, 102)))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_ids")


async def test_a_deletion_is_confirmed_when_nobody_relies_on_the_older_answer_any_more(
    friends: Friends, people: People
) -> None:
    ann, [bob] = await _circle(friends, people, "b")
    deleting = asyncio.create_task(friends.unfriend(ann, bob.user_id))
    relied_on_until = 0.0
    while not deleting.done():
        asked_at = time.monotonic()
        if (await friends.standing(bob.user_id, ann.user_id))[1]:
            relied_on_until = asked_at + LEASE_MS / 1000
    assert time.monotonic() >= relied_on_until
    await deleting
    assert await friends.standing(bob.user_id, ann.user_id) == (False, False)
