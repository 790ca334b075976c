"""Changes of groups: what they do, what the log has of them, and whom they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from group_service.logic import changes
from group_service.model.tables import outbox
from im.group.v1 import group_pb2 as pb
from im_common.domain.ids import now_ms
from im_common.errors import Code
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.people import People
from im_common.testing.services import refusal
from im_common.testing.waiting import eventually

# The fixtures' classes are those of conftest.py, which tests do not import.
Groups = Any
Start = Any


async def _said(groups: Groups, group_id: int) -> list[tuple[int, dict[str, Any]]]:
    """Who made each change but the first, and what its message says."""
    return [(by, said) for by, said, _ in await groups.recorded(group_id)][1:]


async def test_a_new_group_is_told_of(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group = await groups.create(ann, [bob.user_id], name="Sea")
    [(by, said, change)] = await groups.recorded(group.group_id)
    assert (by, said) == (ann.user_id, {"event": "group_created", "name": "Sea"})
    assert list(change.joined_user_ids) == [ann.user_id, bob.user_id]
    invited = {"group_id": group.group_id, "name": "Sea", "by": ann.user_id}
    assert await groups.told(bob.user_id, 1) == [("GroupInvited", invited)]


async def test_what_is_named_changes_and_the_rest_stays(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, [bob.user_id], name="Sea")).group_id
    changed = await groups.update(
        ann, group_id, name=" Lake ", description="two\nlines", join_policy=pb.JOIN_POLICY_OPEN
    )
    assert (changed.name, changed.description) == ("Lake", "two\nlines")
    assert changed.join_policy == pb.JOIN_POLICY_OPEN
    await groups.update(ann, group_id, avatar="a.png", announcement="hello")
    # What is so already is no change.
    assert await groups.update(ann, group_id, name="Lake") == await groups.get(bob, group_id)
    what = [
        {"name": "Lake", "description": "two\nlines", "join_policy": "open"},
        {"avatar": "a.png", "announcement": "hello"},
    ]
    assert await _said(groups, group_id) == [
        (ann.user_id, {"event": "group_updated", **new}) for new in what
    ]
    for user_id, before in ((ann.user_id, 0), (bob.user_id, 1)):
        told = await groups.told(user_id, 2 + before)
        assert told[before:] == [("GroupUpdated", {"group_id": group_id, **new}) for new in what]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "update_mask"),
        ({"owner_id": 5}, "update_mask"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"avatar": "x" * 513}, "avatar"),
        ({"description": "x" * 513}, "description"),
        ({"announcement": "x" * 1025}, "announcement"),
        ({"join_policy": 9}, "join_policy"),
    ],
)
async def test_what_a_group_cannot_be_is_named(
    groups: Groups, people: People, fields: dict[str, Any], field: str
) -> None:
    ann = await people.new()
    group_id = (await groups.create(ann)).group_id
    error = await refusal(groups.update(ann, group_id, **fields))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, field)


async def test_members_come_and_go(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    group_id = (await groups.create(ann)).group_id
    await groups.invite(ann, group_id, [bob.user_id, eve.user_id])
    await groups.act(bob, "LeaveGroup", group_id)
    await groups.act(ann, "RemoveMember", group_id, user_id=eve.user_id)
    assert (await groups.get(ann, group_id)).member_count == 1
    assert await groups.roles(ann, group_id) == {ann.user_id: pb.ROLE_OWNER}
    _, added, left, removed = await groups.recorded(group_id)
    both = [bob.user_id, eve.user_id]
    assert added[:2] == (ann.user_id, {"event": "members_added", "user_ids": both})
    assert list(added[2].joined_user_ids) == both
    assert left[:2] == (bob.user_id, {"event": "member_left", "user_id": bob.user_id})
    assert list(left[2].left_user_ids) == [bob.user_id]
    assert removed[:2] == (ann.user_id, {"event": "member_removed", "user_id": eve.user_id})
    assert list(removed[2].left_user_ids) == [eve.user_id]
    times = [change.timestamp for _, _, change in (added, left, removed)]
    assert times == sorted(set(times))
    told = await groups.told(eve.user_id, 2)
    assert told[1] == ("GroupRemoved", {"group_id": group_id, "by": ann.user_id})
    assert [name for name, _ in await groups.told(bob.user_id, 1)] == ["GroupInvited"]
    assert (await refusal(groups.act(bob, "LeaveGroup", group_id))).code is Code.NOT_GROUP_MEMBER


async def test_the_owner_hands_the_group_over_before_leaving(
    groups: Groups, people: People
) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, [bob.user_id])).group_id
    await groups.act(ann, "MuteMember", group_id, user_id=bob.user_id, muted_until=2**60)
    refused = await refusal(groups.act(ann, "LeaveGroup", group_id))
    assert refused.code is Code.FAILED_PRECONDITION
    await groups.act(ann, "TransferOwnership", group_id, user_id=bob.user_id)
    assert (await groups.get(ann, group_id)).owner_id == bob.user_id
    assert await groups.roles(ann, group_id) == {
        ann.user_id: pb.ROLE_ADMIN,
        bob.user_id: pb.ROLE_OWNER,
    }
    # Nothing mutes an owner.
    info = await groups.send_info(group_id, of=[ann, bob])
    assert info[group_id].muted_member_ids == []
    said = {"event": "owner_transferred", "user_id": bob.user_id}
    assert (await _said(groups, group_id))[-1] == (ann.user_id, said)
    told = await groups.told(bob.user_id, 2)
    assert told[1] == ("GroupUpdated", {"group_id": group_id, "owner_id": bob.user_id})
    await groups.act(ann, "LeaveGroup", group_id)


async def test_roles_and_mutes(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    group_id = (await groups.create(ann, [bob.user_id, eve.user_id])).group_id
    until = now_ms() + 60_000
    for _ in range(2):
        await groups.act(ann, "MuteMember", group_id, user_id=bob.user_id, muted_until=until)
    assert (await groups.send_info(group_id, of=[bob, eve]))[group_id].muted_member_ids == [
        bob.user_id
    ]
    shown = {m.user_id: m.muted_until for m in (await groups.members(eve, group_id)).members}
    assert shown == {ann.user_id: 0, bob.user_id: until, eve.user_id: 0}
    for _ in range(2):
        await groups.act(ann, "SetMemberRole", group_id, user_id=bob.user_id, role=pb.ROLE_ADMIN)
    assert (await groups.send_info(group_id, of=[bob, eve]))[group_id].muted_member_ids == []
    await groups.act(bob, "MuteMember", group_id, user_id=eve.user_id, muted_until=until)
    await groups.act(bob, "MuteMember", group_id, user_id=eve.user_id, muted_until=1)
    assert (await groups.send_info(group_id, of=[bob, eve]))[group_id].muted_member_ids == []
    await groups.act(ann, "SetMemberRole", group_id, user_id=bob.user_id, role=pb.ROLE_MEMBER)
    muted = {"event": "member_muted", "user_id": bob.user_id, "muted_until": until}
    role = {"event": "role_changed", "user_id": bob.user_id}
    of_eve = {"event": "member_muted", "user_id": eve.user_id}
    assert await _said(groups, group_id) == [
        (ann.user_id, muted),
        (ann.user_id, {**role, "role": "admin"}),
        (bob.user_id, {**of_eve, "muted_until": until}),
        (bob.user_id, {**of_eve, "muted_until": 0}),
        (ann.user_id, {**role, "role": "member"}),
    ]


async def test_a_muted_group(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, [bob.user_id])).group_id
    for muted in (True, True, False):
        await groups.act(ann, "MuteGroup", group_id, muted=muted)
        assert (await groups.send_info(group_id))[group_id].muted is muted
    both = [{"muted": True}, {"muted": False}]
    assert await _said(groups, group_id) == [
        (ann.user_id, {"event": "group_muted", **one}) for one in both
    ]
    told = (await groups.told(bob.user_id, 3))[1:]
    assert told == [("GroupUpdated", {"group_id": group_id, **one}) for one in both]


async def test_a_dismissed_group_is_gone(groups: Groups, people: People) -> None:
    ann, bob, eve = await people.several(3)
    group_id = (await groups.create(ann, [bob.user_id])).group_id
    request_id = await groups.ask(eve, group_id)
    await groups.act(ann, "DismissGroup", group_id)
    for refused in (
        groups.get(ann, group_id),
        groups.act(ann, "DismissGroup", group_id),
        groups.invite(ann, group_id, [eve.user_id]),
        groups.act(eve, "JoinGroup", group_id),
        groups.members(ann, group_id),
    ):
        assert (await refusal(refused)).code is Code.NOT_FOUND
    assert (await groups.mine(ann)).groups == (await groups.mine(bob)).groups == []
    assert await groups.send_info(group_id) == {}
    *_, (by, said, change) = await groups.recorded(group_id)
    assert (by, said, change.dismissed) == (ann.user_id, {"event": "group_dismissed"}, True)
    dismissed = ("GroupDismissed", {"group_id": group_id, "by": ann.user_id})
    assert (await groups.told(bob.user_id, 2))[1] == dismissed
    handled = {"group_id": group_id, "request_id": request_id, "accepted": False}
    assert await groups.told(eve.user_id, 1) == [("GroupJoinHandled", handled)]


async def test_members_show_with_names_and_pictures(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    people.nicknames[bob.user_id] = "Bob"
    group_id = (await groups.create(ann, [bob.user_id])).group_id
    await groups.act(
        bob, "SetGroupNickname", group_id, user_id=bob.user_id, nickname=" The builder "
    )
    shown = (await groups.members(ann, group_id)).members[1]
    assert (shown.username, shown.nickname, shown.avatar, shown.group_nickname) == (
        f"user{bob.user_id}",
        "Bob",
        f"user{bob.user_id}.png",
        "The builder",
    )
    asked = groups.act(ann, "SetGroupNickname", group_id, user_id=bob.user_id, nickname="x")
    assert (await refusal(asked)).code is Code.PERMISSION_DENIED
    asked = groups.act(bob, "SetGroupNickname", group_id, user_id=bob.user_id, nickname="x" * 65)
    error = await refusal(asked)
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "nickname")
    assert len(await groups.recorded(group_id)) == 1


async def test_anybody_joins_an_open_group(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, join_policy=pb.JOIN_POLICY_OPEN)).group_id
    for _ in range(2):
        answer = await groups.act(bob, "JoinGroup", group_id)
        assert (answer.joined, answer.request_id) == (True, 0)
    said = {"event": "member_joined", "user_id": bob.user_id}
    assert await _said(groups, group_id) == [(bob.user_id, said)]


async def test_nobody_joins_uninvited_where_one_must_be(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, join_policy=pb.JOIN_POLICY_INVITE_ONLY)).group_id
    refused = await refusal(groups.act(bob, "JoinGroup", group_id))
    assert refused.code is Code.PERMISSION_DENIED


async def test_who_asks_to_join_waits_for_an_answer(groups: Groups, people: People) -> None:
    ann, bob, eve, dan = await people.several(4)
    group_id = (await groups.create(ann, [dan.user_id])).group_id
    await groups.act(ann, "SetMemberRole", group_id, user_id=dan.user_id, role=pb.ROLE_ADMIN)
    first = await groups.ask(bob, group_id, "let me in")
    second = await groups.ask(eve, group_id)
    assert await groups.ask(bob, group_id, "again") == first
    [shown] = [
        request
        for request in (await groups.act(dan, "ListJoinRequests", group_id)).requests
        if request.request_id == first
    ]
    assert (shown.message, shown.username, shown.user_id) == (
        "let me in",
        f"user{bob.user_id}",
        bob.user_id,
    )
    assert await groups.pending(ann, group_id) == [second, first]
    page = await groups.act(ann, "ListJoinRequests", group_id, limit=1)
    rest = await groups.act(ann, "ListJoinRequests", group_id, limit=1, cursor=page.next_cursor)
    assert [one.request_id for one in (*page.requests, *rest.requests)] == [second, first]
    assert rest.next_cursor == ""
    for _ in range(2):
        await groups.handle(dan, group_id, first, True)
        await groups.handle(ann, group_id, second, False)
    assert (await refusal(groups.handle(ann, group_id, first, False))).code is (
        Code.FAILED_PRECONDITION
    )
    assert (await refusal(groups.handle(ann, group_id, 2**40, True))).code is Code.NOT_FOUND
    assert await groups.pending(ann, group_id) == []
    assert set(await groups.roles(bob, group_id)) == {ann.user_id, bob.user_id, dan.user_id}
    said = {"event": "member_joined", "user_id": bob.user_id, "accepted_by": dan.user_id}
    assert (await _said(groups, group_id))[1:] == [(bob.user_id, said)]
    asked = {"group_id": group_id, "request_id": first, "user_id": bob.user_id}
    for user_id, before in ((ann.user_id, 0), (dan.user_id, 1)):
        told = await groups.told(user_id, 2 + before)
        assert told[before] == ("GroupJoinRequested", {**asked, "message": "let me in"})
    for person, request_id, accepted in ((bob, first, True), (eve, second, False)):
        handled = {"group_id": group_id, "request_id": request_id, "accepted": accepted}
        assert await groups.told(person.user_id, 1) == [("GroupJoinHandled", handled)]


async def test_a_request_ends_with_an_invitation(groups: Groups, people: People) -> None:
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann)).group_id
    request_id = await groups.ask(bob, group_id)
    await groups.invite(ann, group_id, [bob.user_id])
    assert await groups.pending(ann, group_id) == []
    await groups.handle(ann, group_id, request_id, True)
    assert len(await groups.recorded(group_id)) == 2


async def test_a_full_group_takes_nobody(start: Start, people: People) -> None:
    async with start(max_members=1) as groups:
        ann, bob = await people.several(2)
        group_id = (await groups.create(ann)).group_id
        request_id = await groups.ask(bob, group_id)
        for full in (
            groups.handle(ann, group_id, request_id, True),
            groups.invite(ann, group_id, [bob.user_id]),
        ):
            assert (await refusal(full)).code is Code.GROUP_FULL
        assert await groups.pending(ann, group_id) == [request_id]
        await groups.update(ann, group_id, join_policy=pb.JOIN_POLICY_OPEN)
        assert (await refusal(groups.act(bob, "JoinGroup", group_id))).code is Code.GROUP_FULL
        assert (await groups.get(ann, group_id)).member_count == 1


async def test_a_second_try_is_answered_when_the_first_is_in_the_log(
    groups: Groups, people: People, db: DbConf
) -> None:
    """As after a death between the commit and the log, and an answer that was lost with it."""
    ann, bob, eve = await people.several(3)
    group_id = (await groups.create(ann, [bob.user_id])).group_id

    tries = (
        lambda: groups.invite(ann, group_id, [eve.user_id]),
        lambda: groups.act(ann, "MuteGroup", group_id, muted=True),
        lambda: refusal(groups.act(ann, "RemoveMember", group_id, user_id=bob.user_id)),
    )
    database = Database(db)
    for number, attempt in enumerate(tries):
        await _put_off(database, "another")
        first = asyncio.create_task(_whatever(attempt()))
        await eventually(partial(_waits, database))
        again = asyncio.create_task(_whatever(attempt()))
        await asyncio.wait([first, again], timeout=0.2)
        await _put_off(database, "")
        await again
        assert len(await groups.recorded(group_id)) == 2 + number
        await first
    await database.close()


async def test_a_change_that_is_not_in_the_log_is_not_confirmed(
    groups: Groups, people: People, db: DbConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "RELAYED_WITHIN_S", 0.5)
    ann, bob = await people.several(2)
    group_id = (await groups.create(ann, [bob.user_id])).group_id
    database = Database(db)
    await _put_off(database, "another")
    removal = partial(groups.act, ann, "RemoveMember", group_id, user_id=bob.user_id)
    for _ in range(2):
        assert (await refusal(removal())).code is Code.UNAVAILABLE
    # A group is made all the same: a second try would make another one.
    other = await groups.create(ann)
    await _put_off(database, "")
    monkeypatch.setattr(changes, "RELAYED_WITHIN_S", 15.0)
    assert (await refusal(removal())).code is Code.NOT_FOUND
    assert [len(await groups.recorded(one)) for one in (group_id, other.group_id)] == [2, 1]
    await database.close()


async def _put_off(database: Database, owner: str) -> None:
    """Another instance relays; or nobody does."""
    query = update(outbox.lease).values(owner=owner)
    await database.write(lambda connection: connection.execute(query).close())


async def _whatever(attempt: Awaitable[Any]) -> None:
    with suppress(AssertionError):
        await attempt


async def _waits(database: Database) -> bool:
    query = select(outbox.rows.c.id).limit(1)
    return await database.read(lambda connection: connection.execute(query).first()) is not None
