"""Changes at once on two instances: whatever wins, the group is a lawful one at the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from im.group.v1 import group_pb2 as pb
from im_common.errors import AppError, Code
from im_common.testing.people import People, Person

# The fixtures' classes are those of conftest.py, which tests do not import.
Groups = Any
Start = Any

MOST = 5
ROUNDS = 4
AT_ONCE = 8
# What may become of a change that comes too late.
LAWFUL = {
    Code.NOT_GROUP_MEMBER,
    Code.PERMISSION_DENIED,
    Code.NOT_FOUND,
    Code.FAILED_PRECONDITION,
    Code.GROUP_FULL,
}


def _any_act(chance: random.Random, other: int) -> tuple[str, dict[str, Any]]:
    acts: list[tuple[str, dict[str, Any]]] = [
        ("RemoveMember", {"user_id": other}),
        ("TransferOwnership", {"user_id": other}),
        ("SetMemberRole", {"user_id": other, "role": chance.choice([1, 2])}),
        ("LeaveGroup", {}),
        ("JoinGroup", {}),
        ("InviteMembers", {"user_ids": [other]}),
    ]
    return chance.choice(acts)


async def _try(groups: Groups, user: Person, group_id: int, act: tuple[str, Any]) -> None:
    try:
        await groups.act(user, act[0], group_id, **act[1])
    except AppError as error:
        if error.code not in LAWFUL:
            raise


async def _check_lawful(groups: Groups, users: dict[int, Person], group_id: int) -> set[int]:
    info = (await groups.send_info(group_id, of=list(users.values())))[group_id]
    present = set(info.member_ids)
    viewer = users[info.member_ids[0]]
    group = await groups.get(viewer, group_id)
    roles = await groups.roles(viewer, group_id)
    owners = [user_id for user_id, role in roles.items() if role == pb.ROLE_OWNER]
    assert owners == [group.owner_id]
    assert set(roles) == present
    assert group.member_count == len(roles) <= MOST
    return present


@pytest.mark.parametrize("seed", range(3))
async def test_a_group_is_lawful_whatever_is_done_to_it_at_once(
    start: Start, people: People, seed: int
) -> None:
    chance = random.Random(seed)
    users = {person.user_id: person for person in await people.several(7)}
    ids = list(users)
    async with start(max_members=MOST) as one, start(max_members=MOST) as other:
        first = users[ids[0]]
        group = await one.create(first, ids[1:4], join_policy=pb.JOIN_POLICY_OPEN)
        for _ in range(ROUNDS):
            tries = []
            for number in range(AT_ONCE):
                user, target = chance.sample(ids, 2)
                act = _any_act(chance, target)
                instance = (one, other)[number % 2]
                tries.append(_try(instance, users[user], group.group_id, act))
            await asyncio.gather(*tries)
            await _check_lawful(other, users, group.group_id)
        # What was told of it comes to the same members.
        told: set[int] = set()
        for _, _, change in await one.recorded(group.group_id):
            assert told.isdisjoint(change.joined_user_ids)
            assert told.issuperset(change.left_user_ids)
            told = (told | set(change.joined_user_ids)) - set(change.left_user_ids)
        assert told == await _check_lawful(one, users, group.group_id)


async def test_who_hands_the_group_over_and_who_gets_it_do_not_remove_each_other(
    start: Start, people: People
) -> None:
    ann, bob, eve = await people.several(3)
    async with start() as one, start() as other:
        group_id = (await one.create(ann, [bob.user_id, eve.user_id])).group_id
        await one.act(ann, "TransferOwnership", group_id, user_id=bob.user_id)
        await asyncio.gather(
            _try(one, bob, group_id, ("TransferOwnership", {"user_id": ann.user_id})),
            _try(other, bob, group_id, ("RemoveMember", {"user_id": ann.user_id})),
            _try(other, ann, group_id, ("RemoveMember", {"user_id": bob.user_id})),
        )
        await _check_lawful(one, {p.user_id: p for p in (ann, bob, eve)}, group_id)
