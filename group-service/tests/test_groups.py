"""Making, reading and listing groups, over gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from im.group.v1 import group_pb2 as pb
from im_common.errors import Code
from im_common.testing.people import People
from im_common.testing.queries import counted_queries
from im_common.testing.services import call, refusal

# The fixtures' classes are those of conftest.py, which tests do not import.
Groups = Any
Start = Any


async def test_a_new_group_is_its_makers(groups: Groups, people: People) -> None:
    ann = await people.new()
    group = await groups.create(ann, name="  Friends of the sea ")
    assert group.group_id >= 1001
    assert (group.name, group.owner_id, group.member_count) == (
        "Friends of the sea",
        ann.user_id,
        1,
    )
    assert group.join_policy == pb.JOIN_POLICY_APPROVAL
    assert not group.muted
    assert group.created_at > 1_700_000_000_000
    assert await groups.get(ann, group.group_id) == group
    assert await groups.roles(ann, group.group_id) == {ann.user_id: pb.ROLE_OWNER}


async def test_groups_are_numbered_upwards(groups: Groups, people: People) -> None:
    ann = await people.new()
    numbers = [(await groups.create(ann)).group_id for _ in range(3)]
    assert numbers == sorted(set(numbers))


async def test_the_members_named_are_in_it_once_each(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    named = [bob.user_id, ann.user_id, eve.user_id, bob.user_id]
    group = await groups.create(ann, named)
    assert group.member_count == 3
    assert await groups.roles(bob, group.group_id) == {
        ann.user_id: pb.ROLE_OWNER,
        bob.user_id: pb.ROLE_MEMBER,
        eve.user_id: pb.ROLE_MEMBER,
    }


@pytest.mark.parametrize(
    "policy", [pb.JOIN_POLICY_OPEN, pb.JOIN_POLICY_APPROVAL, pb.JOIN_POLICY_INVITE_ONLY]
)
async def test_the_join_policy_is_the_one_asked_for(
    groups: Groups, people: People, policy: pb.JoinPolicy.ValueType
) -> None:
    ann = await people.new()
    group = await groups.create(ann, join_policy=policy)
    assert (await groups.get(ann, group.group_id)).join_policy == policy


async def test_a_join_policy_that_nobody_knows_is_refused(groups: Groups, people: People) -> None:
    error = await refusal(groups.create(await people.new(), join_policy=9))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "join_policy")


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "bell\x07", "two\nlines"])
async def test_a_name_has_1_to_64_usable_characters(
    groups: Groups, people: People, name: str
) -> None:
    error = await refusal(groups.create(await people.new(), name=name))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "name")


@pytest.mark.parametrize("name", ["x", "x" * 64, "🐋" * 64, "海の友だち"])
async def test_a_name_is_kept_as_it_is(groups: Groups, people: People, name: str) -> None:
    ann = await people.new()
    group = await groups.create(ann, name=name)
    assert (await groups.get(ann, group.group_id)).name == name


async def test_a_member_who_does_not_exist_prevents_the_group(
    groups: Groups, people: People
) -> None:
    ann, bob = await people.several(2)
    error = await refusal(groups.create(ann, [bob.user_id, people.stranger()]))
    assert (error.code, error.field) == (Code.NOT_FOUND, "member_ids")
    assert (await groups.mine(ann)).groups == []


async def test_a_group_has_room_for_as_many_as_the_setting_says(
    start: Start, people: People
) -> None:
    async with start(max_members=3) as groups:
        ann = await people.new()
        error = await refusal(groups.create(ann, people.crowd(3)))
        assert error.code is Code.GROUP_FULL
        assert (await groups.create(ann, people.crowd(2))).member_count == 3


async def test_a_full_group_is_made_by_two_questions_and_one_insert_a_table(
    groups: Groups, people: People
) -> None:
    ann = await people.new()
    await groups.mine(ann)
    people.calls.clear()
    with counted_queries() as queries:
        group = await groups.create(ann, people.crowd(499))
    assert group.member_count == 500
    assert people.calls == {"CheckUsers": 1, "BatchIsBlocked": 1}
    inserts = [query.split()[2].strip('`"') for query in queries if "INSERT" in query]
    assert inserts.count("group_members") == inserts.count("groups") == 1


async def test_a_group_shows_itself_to_members_only(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group = await groups.create(ann)
    assert (await refusal(groups.get(bob, group.group_id))).code is Code.NOT_GROUP_MEMBER
    for group_id in (2**62, 0, -1):
        assert (await refusal(groups.get(ann, group_id))).code is Code.NOT_FOUND


async def test_the_list_of_groups_is_the_callers_own_joined_last_first(
    groups: Groups, people: People
) -> None:
    ann, bob = await people.several(2)
    first = await groups.create(ann, [bob.user_id])
    await groups.create(ann)
    own = await groups.create(bob)
    assert [group.group_id for group in (await groups.mine(bob)).groups] == [
        own.group_id,
        first.group_id,
    ]
    assert (await groups.mine(await people.new())).groups == []


async def test_pages_of_groups_show_each_once(groups: Groups, people: People) -> None:
    ann = await people.new()
    made = [await groups.create(ann) for _ in range(5)]
    seen: list[pb.Group] = []
    cursor = ""
    for size in (2, 2, 1):
        page = await groups.mine(ann, limit=2, cursor=cursor)
        assert len(page.groups) == size
        seen += page.groups
        cursor = page.next_cursor
    assert cursor == ""
    assert seen == made[::-1]


async def test_a_cursor_or_limit_of_no_sense_is_refused(groups: Groups, people: People) -> None:
    ann = await people.new()
    error = await refusal(groups.mine(ann, cursor="nonsense"))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "cursor")
    for limit in (-1, 101):
        error = await refusal(groups.mine(ann, limit=limit))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "limit")


async def test_nobody_gets_in_without_a_session(groups: Groups, people: People) -> None:
    request = pb.CreateGroupRequest(name="x")
    assert (await refusal(call(groups.stub.CreateGroup, request))).code is Code.UNAUTHENTICATED
    gone = await people.new()
    await people.end_session(gone)
    assert (await refusal(groups.create(gone))).code is Code.SESSION_REVOKED


async def test_calls_by_one_key_make_one_group(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)

    async def create(person: Any, key: str) -> int:
        request = pb.CreateGroupRequest(name="Once", creation_key=key)
        answer = await call(groups.stub.CreateGroup, request, token=person.token)
        return answer.group.group_id  # type: ignore[no-any-return]

    at_once = await asyncio.gather(*(create(ann, "k" * 64) for _ in range(5)))
    assert len(set(at_once)) == 1
    assert await create(ann, "k" * 64) == at_once[0]
    others = [await create(ann, "another"), await create(bob, "k" * 64), await create(ann, "")]
    assert len({at_once[0], *others}) == 4
    listed = await call(groups.stub.ListMyGroups, pb.ListMyGroupsRequest(), token=ann.token)
    assert len(listed.groups) == 3


async def test_a_key_of_a_creation_is_short_and_plain(groups: Groups, people: People) -> None:
    ann = await people.new()
    for key in ("k" * 65, "a key", "ä"):
        request = pb.CreateGroupRequest(name="Once", creation_key=key)
        error = await refusal(call(groups.stub.CreateGroup, request, token=ann.token))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "creation_key")
