"""Members of groups: listing, inviting, and what a send is judged by, over gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import update

from group_service.model.tables import group_members
from group_service.model.tables import groups as groups_table
from im.group.v1 import group_pb2 as pb
from im_common.domain.ids import now_ms
from im_common.errors import AppError, Code
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.people import People
from im_common.testing.queries import counted_queries
from im_common.testing.services import call, refusal

# The fixtures' classes are those of conftest.py, which tests do not import.
Groups = Any
Start = Any


async def test_pages_show_every_member_once(groups: Groups, people: People) -> None:
    ann = await people.new()
    group = await groups.create(ann, people.crowd(6))
    seen: list[pb.Member] = []
    cursor = ""
    for size in (3, 3, 1):
        page = await groups.members(ann, group.group_id, limit=3, cursor=cursor)
        assert len(page.members) == size
        seen += page.members
        cursor = page.next_cursor
    assert cursor == ""
    assert len({member.user_id for member in seen}) == 7
    assert {member.joined_at for member in seen} == {group.created_at}
    assert {member.muted_until for member in seen} == {0}


async def test_members_are_shown_to_members_only(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group = await groups.create(ann)
    refused = await refusal(groups.members(bob, group.group_id))
    assert refused.code is Code.NOT_GROUP_MEMBER
    assert (await refusal(groups.members(bob, 2**62))).code is Code.NOT_FOUND


async def test_a_cursor_or_limit_of_no_sense_is_refused(groups: Groups, people: People) -> None:
    ann = await people.new()
    group = await groups.create(ann)
    error = await refusal(groups.members(ann, group.group_id, cursor="nonsense"))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "cursor")
    error = await refusal(groups.members(ann, group.group_id, limit=101))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "limit")


async def test_the_owner_invites(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    group = await groups.create(ann, [bob.user_id])
    asked = [eve.user_id, bob.user_id, ann.user_id, eve.user_id]
    assert await groups.invite(ann, group.group_id, asked) == [eve.user_id]
    assert (await groups.get(eve, group.group_id)).member_count == 3
    assert (await groups.roles(eve, group.group_id))[eve.user_id] == pb.ROLE_MEMBER


async def test_inviting_members_again_changes_nothing(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group = await groups.create(ann, [bob.user_id])
    assert await groups.invite(ann, group.group_id, [ann.user_id, bob.user_id]) == []
    assert (await groups.get(ann, group.group_id)).member_count == 2


@pytest.mark.parametrize("policy", [pb.JOIN_POLICY_APPROVAL, pb.JOIN_POLICY_INVITE_ONLY])
async def test_a_member_may_not_invite_to_a_closed_group(
    groups: Groups, people: People, policy: pb.JoinPolicy.ValueType
) -> None:
    ann, bob, eve = await people.several(3)
    group = await groups.create(ann, [bob.user_id], join_policy=policy)
    refused = await refusal(groups.invite(bob, group.group_id, [eve.user_id]))
    assert refused.code is Code.PERMISSION_DENIED
    assert (await groups.get(ann, group.group_id)).member_count == 2


async def test_a_member_may_invite_to_an_open_group(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    group = await groups.create(ann, [bob.user_id], join_policy=pb.JOIN_POLICY_OPEN)
    assert await groups.invite(bob, group.group_id, [eve.user_id]) == [eve.user_id]


async def test_who_is_no_member_may_not_invite(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group = await groups.create(ann, join_policy=pb.JOIN_POLICY_OPEN)
    refused = await refusal(groups.invite(bob, group.group_id, [bob.user_id]))
    assert refused.code is Code.NOT_GROUP_MEMBER
    assert (await refusal(groups.invite(bob, 2**62, [bob.user_id]))).code is Code.NOT_FOUND


async def test_one_unknown_user_prevents_the_whole_invitation(
    groups: Groups, people: People
) -> None:
    ann, bob = await people.several(2)
    group = await groups.create(ann)
    asked = [bob.user_id, people.stranger()]
    error = await refusal(groups.invite(ann, group.group_id, asked))
    assert (error.code, error.field) == (Code.NOT_FOUND, "user_ids")
    assert (await groups.get(ann, group.group_id)).member_count == 1


async def test_invitations_at_once_never_overfill_a_group(start: Start, people: People) -> None:
    async with start(max_members=5) as groups:
        ann = await people.new()
        group = await groups.create(ann)

        async def invite_two() -> int:
            try:
                return len(await groups.invite(ann, group.group_id, people.crowd(2)))
            except AppError as error:
                if error.code is not Code.GROUP_FULL:
                    raise
                return 0

        added = await asyncio.gather(*(invite_two() for _ in range(6)))
        assert sum(added) == 4
        assert (await groups.get(ann, group.group_id)).member_count == 5
        assert len(await groups.roles(ann, group.group_id)) == 5


async def test_the_same_invitation_at_once_adds_each_user_once(
    groups: Groups, people: People
) -> None:
    ann = await people.new()
    group = await groups.create(ann)
    crowd = people.crowd(3)
    added = await asyncio.gather(*(groups.invite(ann, group.group_id, crowd) for _ in range(5)))
    assert sorted(user_id for part in added for user_id in part) == crowd
    assert (await groups.get(ann, group.group_id)).member_count == 4


async def test_a_sender_learns_who_is_in_each_group(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    one = await groups.create(ann, [bob.user_id])
    other = await groups.create(bob)
    eve = await people.new()
    info = await groups.send_info(
        one.group_id, other.group_id, one.group_id, 2**62, of=[ann, bob, eve]
    )
    assert set(info) == {one.group_id, other.group_id}
    assert sorted(info[one.group_id].member_ids) == [ann.user_id, bob.user_id]
    assert info[one.group_id].manager_ids == [ann.user_id]
    assert not info[one.group_id].muted
    assert info[one.group_id].muted_member_ids == []
    assert info[other.group_id].member_ids == [bob.user_id]
    # Of who was not asked about, only the number is told.
    alone = (await groups.send_info(one.group_id, of=[eve]))[one.group_id]
    assert (list(alone.member_ids), alone.member_count) == ([], 2)


async def test_many_groups_cost_two_queries(groups: Groups, people: People) -> None:
    ann = await people.new()
    made = [(await groups.create(ann, people.crowd(2))).group_id for _ in range(12)]
    with counted_queries() as queries:
        assert len(await groups.send_info(*made, of=[ann])) == 12
    # The relay of the outbox asks at times of its own.
    asked = [query for query in queries if "SELECT" in query and "outbox" not in query]
    assert len(asked) == 2
    assert await groups.send_info() == {}


async def test_who_is_muted_at_the_moment_is_told(
    groups: Groups, people: People, db: DbConf
) -> None:
    ann, bob, eve = await people.several(3)
    group = await groups.create(ann, [bob.user_id, eve.user_id])
    for user_id, until in ((bob.user_id, now_ms() + 60_000), (eve.user_id, now_ms() - 1)):
        await _execute(
            db,
            update(group_members)
            .where(group_members.c.group_id == group.group_id, group_members.c.user_id == user_id)
            .values(muted_until=until),
        )
    this = groups_table.c.group_id == group.group_id
    await _execute(db, update(groups_table).where(this).values(muted=True))
    info = (await groups.send_info(group.group_id, of=[ann, bob, eve]))[group.group_id]
    assert info.muted
    assert info.muted_member_ids == [bob.user_id]


async def test_500_groups_may_be_asked_for_and_no_more(groups: Groups) -> None:
    assert await groups.send_info(*range(2**40, 2**40 + 500)) == {}
    error = await refusal(groups.send_info(*range(2**40, 2**40 + 501)))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "groups")


async def test_only_services_may_ask_for_what_a_send_is_judged_by(
    groups: Groups, people: People
) -> None:
    ann = await people.new()
    request = pb.BatchGetSendInfoRequest(
        groups=[pb.GroupSenders(group_id=(await groups.create(ann)).group_id)]
    )
    refused = await refusal(call(groups.stub.BatchGetSendInfo, request, token=ann.token))
    assert refused.code is Code.PERMISSION_DENIED


async def _execute(db: DbConf, statement: Any) -> None:
    database = Database(db)
    try:
        await database.write(lambda connection: connection.execute(statement).close())
    finally:
        await database.close()
