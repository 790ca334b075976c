"""What an operator asks of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from im.group.v1 import admin_pb2 as pb
from im_common.errors import Code
from im_common.testing.people import People
from im_common.testing.services import call, refusal

if TYPE_CHECKING:
    from conftest import Groups


async def find(groups: Groups, **wanted: Any) -> pb.FindGroupsResponse:
    request = pb.FindGroupsRequest(**wanted)
    return await call(groups.admin.FindGroups, request, service="im-admin")


async def ids(groups: Groups, **wanted: Any) -> list[int]:
    return [group.group_id for group in (await find(groups, **wanted)).groups]


async def end(groups: Groups, group_id: int) -> None:
    request = pb.EndGroupRequest(group_id=group_id)
    await call(groups.admin.EndGroup, request, service="im-admin")


async def members(groups: Groups, group_id: int, **page: Any) -> pb.ListGroupMembersResponse:
    request = pb.ListGroupMembersRequest(group_id=group_id, **page)
    return await call(groups.admin.ListGroupMembers, request, service="im-admin")


async def test_groups_are_found_by_a_part_of_their_name_and_by_member(
    groups: Groups, people: People
) -> None:
    ann, bob = await people.several(2)
    word = uuid4().hex
    first = (await groups.create(ann, [bob.user_id], name=f"the {word} 100%")).group_id
    second = (await groups.create(ann, name=f"{word}_x")).group_id

    assert await ids(groups, text=word) == [second, first]
    assert await ids(groups, text=f"{word} 100%") == [first]
    # Not a sign that stands for any other.
    assert await ids(groups, text=f"{word}__") == []
    assert await ids(groups, user_id=bob.user_id) == [first]
    assert await ids(groups, group_id=second) == [second]
    page = await find(groups, text=word, limit=1)
    assert await ids(groups, text=word, limit=1, cursor=page.next_cursor) == [first]


async def test_members_come_in_pages(groups: Groups, people: People) -> None:
    everybody = await people.several(3)
    owner, *others = everybody
    group_id = (await groups.create(owner, [other.user_id for other in others])).group_id

    first = await members(groups, group_id, limit=2)
    second = await members(groups, group_id, limit=2, cursor=first.next_cursor)

    found = [member.user_id for member in (*first.members, *second.members)]
    assert found == sorted(person.user_id for person in everybody)
    assert not second.next_cursor
    assert (await refusal(members(groups, 999_999))).code is Code.NOT_FOUND


async def test_a_group_ends_once_in_its_owners_name(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, [bob.user_id])).group_id

    await end(groups, group_id)

    by, said, change = (await groups.recorded(group_id))[-1]
    assert (by, said["event"], change.dismissed) == (ann.user_id, "group_dismissed", True)
    assert await ids(groups, group_id=group_id) == []
    assert (await refusal(groups.get(ann, group_id))).code is Code.NOT_FOUND
    assert (await refusal(end(groups, group_id))).code is Code.NOT_FOUND


async def test_no_user_is_an_operator(groups: Groups, people: People) -> None:
    ann = await people.new()
    group_id = (await groups.create(ann)).group_id
    for method, request in (
        (groups.admin.FindGroups, pb.FindGroupsRequest()),
        (groups.admin.ListGroupMembers, pb.ListGroupMembersRequest(group_id=group_id)),
        (groups.admin.EndGroup, pb.EndGroupRequest(group_id=group_id)),
    ):
        refused = await refusal(call(method, request, token=ann.token))
        assert refused.code is Code.PERMISSION_DENIED
    assert await ids(groups, group_id=group_id) == [group_id]
