"""Who may do what, over gRPC: what is refused changes nothing, and leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest

from im.group.v1 import group_pb2 as pb
from im_common.errors import Code
from im_common.testing.people import People
from im_common.testing.services import refusal

# The fixtures' classes are those of conftest.py, which tests do not import.
Groups = Any

# What is done to a member, or to the group: the call, and its fields besides.
ACTS: dict[str, dict[str, Any]] = {
    "RemoveMember": {},
    "MuteMember": {"muted_until": 2**60},
    "SetMemberRole": {"role": pb.ROLE_ADMIN},
    "TransferOwnership": {},
}


@pytest.mark.parametrize("method", ACTS)
async def test_nobody_does_it_to_themselves_or_to_a_stranger(
    groups: Groups, people: People, method: str
) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann)).group_id
    fields = ACTS[method]
    error = await refusal(groups.act(ann, method, group_id, user_id=ann.user_id, **fields))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_id")
    error = await refusal(groups.act(ann, method, group_id, user_id=bob.user_id, **fields))
    assert (error.code, error.field) == (Code.NOT_FOUND, "user_id")
    error = await refusal(groups.act(bob, method, group_id, user_id=ann.user_id, **fields))
    assert error.code is Code.NOT_GROUP_MEMBER
    error = await refusal(groups.act(bob, method, 2**62, user_id=ann.user_id, **fields))
    assert error.code is Code.NOT_FOUND
    assert len(await groups.recorded(group_id)) == 1


async def test_strange_roles_and_times_are_named(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, [bob.user_id])).group_id
    for role in (pb.ROLE_OWNER, pb.ROLE_UNSPECIFIED, 9):
        asked = groups.act(ann, "SetMemberRole", group_id, user_id=bob.user_id, role=role)
        error = await refusal(asked)
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "role")
    asked = groups.act(ann, "MuteMember", group_id, user_id=bob.user_id, muted_until=-1)
    error = await refusal(asked)
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "muted_until")


async def test_who_has_blocked_the_inviter_is_not_added(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    people.blocks.add((bob.user_id, ann.user_id))
    error = await refusal(groups.create(ann, [eve.user_id, bob.user_id]))
    assert (error.code, error.field) == (Code.BLOCKED, "member_ids")
    group_id = (await groups.create(ann)).group_id
    error = await refusal(groups.invite(ann, group_id, [eve.user_id, bob.user_id]))
    assert (error.code, error.field) == (Code.BLOCKED, "user_ids")
    assert await groups.roles(ann, group_id) == {ann.user_id: pb.ROLE_OWNER}
    # Who is a member already is not asked again.
    await groups.invite(ann, group_id, [eve.user_id])
    people.blocks.add((eve.user_id, ann.user_id))
    assert await groups.invite(ann, group_id, [eve.user_id]) == []
