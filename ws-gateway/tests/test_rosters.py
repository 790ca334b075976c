"""Who of those who are connected sees what of which group, whatever came when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ws_parts import connection, message, sent

from im.chat.v1 import chat_pb2
from im.gateway.v1.push_pb2 import Delivery, GroupRoster, GroupStanding, GroupTarget
from im_common.errors import AppError, Code
from im_common.runtime.tasks import end
from ws_gateway.logic import rosters as rosters_module
from ws_gateway.logic.connection import Connection, Connections
from ws_gateway.logic.rosters import Rosters

G = "g:5"
A, B, C = 1001, 1002, 1003


class Chat:
    """Says which groups users are in; may be away, or slow."""

    def __init__(self) -> None:
        # By user: group, min_seq, roster_seq.
        self.groups: dict[int, list[tuple[str, int, int]]] = {}
        self.calls: list[list[int]] = []
        self.away = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def ListGroupStandings(self, request: Any) -> chat_pb2.ListGroupStandingsResponse:
        self.calls.append(list(request.user_ids))
        found = {user_id: self.groups.get(user_id, []) for user_id in request.user_ids}
        await self.go_on.wait()
        if self.away:
            raise AppError(Code.UNAVAILABLE, "away")
        names = ("conversation_id", "min_seq", "roster_seq")
        return chat_pb2.ListGroupStandingsResponse(
            users=[
                chat_pb2.UserGroups(
                    user_id=user_id,
                    groups=[chat_pb2.UserGroup(**dict(zip(names, g, strict=True))) for g in of_one],
                )
                for user_id, of_one in found.items()
                if of_one
            ]
        )


class Told:
    """Remembers for which groups others find the gateway."""

    def __init__(self) -> None:
        self.groups: list[str] = []

    async def put(self, _: str, conversation_ids: Any) -> None:
        self.groups += conversation_ids

    async def find(self, conversation_ids: Any) -> dict[str, list[str]]:
        return {one: [""] for one in conversation_ids if one in self.groups}


class World:
    def __init__(self) -> None:
        self.connections = Connections()
        self.chat = Chat()
        self.told = Told()
        chat: Any = self.chat
        told: Any = self.told
        self.rosters = Rosters(self.connections, chat, told)
        self._numbers = iter(range(1, 100))

    def arrive(self, user_id: int) -> Connection:
        """A connection whose route is written."""
        one = connection(user_id, number=next(self._numbers))
        one.opened_at = None
        self.connections.add(one)
        return one

    async def online(self, user_id: int) -> Connection:
        one = self.arrive(user_id)
        await self.rosters.learn([one])
        one.opened_at = 1.0
        return one

    def leave(self, one: Connection) -> None:
        self.connections.remove(one)
        self.rosters.forget(one)

    def push(self, *deliveries: Delivery) -> list[int] | None:
        """Whom it asks about when it is behind, else None."""
        if behind := self.rosters.behind(deliveries):
            return sorted(behind[0].user_ids)
        for delivery in deliveries:
            self.rosters.deliver(delivery)
        return None


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    made = World()
    learning = asyncio.create_task(made.rosters.run())
    yield made
    await end(learning)


def _said(seq: int, *, after: int, by: int = 0) -> Delivery:
    target = GroupTarget(roster_seq=after, except_user_id=by)
    return Delivery(frame=message(seq), conversation_id=G, seq=seq, group=target)


def _change(
    seq: int, *, after: int, joined: Sequence[int] = (), left: Sequence[int] = ()
) -> Delivery:
    moved = [GroupStanding(user_id=user_id, min_seq=seq - 1) for user_id in joined]
    moved += [GroupStanding(user_id=user_id, min_seq=0, left_seq=seq - 1) for user_id in left]
    target = GroupTarget(roster_seq=after, is_change=True, moved=moved)
    return Delivery(frame=message(seq), conversation_id=G, seq=seq, group=target)


def _seqs(one: Connection) -> list[int]:
    return [frame["seq"] for frame in sent(one)]


async def test_members_get_it_and_nobody_else_and_its_author_in_another_way(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)]}
    a, b, c = [await world.online(user_id) for user_id in (A, B, C)]
    laptop = await world.online(B)
    assert world.push(_said(2, after=1, by=A), _said(3, after=1)) is None
    assert [_seqs(one) for one in (a, b, laptop, c)] == [[3], [2, 3], [2, 3], []]
    # The second device of a user costs no call.
    assert len(world.chat.calls) == 3
    assert world.told.groups == [G]


async def test_who_is_removed_gets_what_came_before_also_when_it_comes_again(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)]}
    a = await world.online(A)
    b = await world.online(B)
    removed = _change(3, after=1, left=[B])
    assert world.push(_said(2, after=1), removed, _said(4, after=3)) is None
    assert (_seqs(a), _seqs(b)) == ([2, 3, 4], [2])
    # A consumer that repeats its batch, to a device that has come since.
    again = await world.online(B)
    assert world.push(_said(2, after=1), removed, _said(4, after=3), _said(5, after=3)) is None
    assert (_seqs(again), _seqs(b)) == ([2], [2])
    back = _change(6, after=3, joined=[B])
    assert world.push(back, _said(7, after=6)) is None
    assert _seqs(b) == [2, 6, 7]


async def test_a_gateway_that_missed_a_change_delivers_nothing_before_it_is_told(
    world: World,
) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)], C: [(G, 0, 1)]}
    a, b, c = [await world.online(user_id) for user_id in (A, B, C)]
    lost, late = _change(3, after=1, left=[B]), _said(4, after=3)
    assert world.push(late) == [A, B, C]
    assert world.push(_change(5, after=3, left=[C])) == [A, B, C]
    assert [_seqs(one) for one in (a, b, c)] == [[], [], []]
    standings = [
        GroupStanding(user_id=A, min_seq=0),
        GroupStanding(user_id=B, min_seq=0, left_seq=2),
        GroupStanding(user_id=C, min_seq=0),
    ]
    world.rosters.catch_up([GroupRoster(conversation_id=G, roster_seq=4, standings=standings)])
    assert world.push(late, lost) is None
    assert [_seqs(one) for one in (a, b, c)] == [[4], [], [4]]


async def test_a_change_may_be_quicker_than_the_answer_at_the_connection(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)]}
    await world.online(A)
    world.chat.go_on.clear()
    b, c = world.arrive(B), world.arrive(C)
    learning = asyncio.create_task(world.rosters.learn([b, c]))
    while len(world.chat.calls) < 2:
        await asyncio.sleep(0)
    # Read before both changes, answered after them.
    assert world.push(_change(2, after=1, left=[B]), _change(3, after=2, joined=[C])) is None
    world.chat.go_on.set()
    await learning
    assert world.push(_said(4, after=3)) is None
    assert (_seqs(b), _seqs(c)) == ([], [3, 4])


async def test_what_was_asked_for_a_connection_that_has_gone_is_not_believed(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)]}
    await world.online(A)
    world.chat.go_on.clear()
    gone = world.arrive(B)
    learning = asyncio.create_task(world.rosters.learn([gone]))
    while len(world.chat.calls) < 2:
        await asyncio.sleep(0)
    world.leave(gone)
    world.chat.groups[B] = []
    assert world.push(_change(2, after=1, left=[B])) is None
    b = world.arrive(B)
    world.chat.go_on.set()
    await asyncio.gather(learning, world.rosters.learn([b]))
    assert world.push(_said(3, after=2)) is None
    assert _seqs(b) == []


async def test_a_gateway_holds_a_group_as_long_as_a_member_is_here(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)]}
    asked = [GroupRoster(conversation_id=G, is_small=True)]
    [nobody] = world.rosters.held(asked)
    a = await world.online(A)
    [held] = world.rosters.held(asked)
    assert (list(nobody.user_ids), list(held.user_ids)) == ([], [A])
    known = [GroupRoster(conversation_id=G, is_small=True, held_version=held.version)]
    [same] = world.rosters.held(known)
    assert (same.version, list(same.user_ids)) == (held.version, [])
    b = await world.online(B)
    [more] = world.rosters.held(known)
    assert sorted(more.user_ids) == [A, B]
    world.leave(a)
    world.leave(b)
    [none] = world.rosters.held(known)
    assert (none.version, list(none.user_ids)) == (nobody.version, [])
    await world.rosters.renew()
    assert world.told.groups == [G]
    # Of a group that it does not hold, it is never behind.
    assert world.push(_said(9, after=8)) is None


async def test_who_came_while_chat_service_was_away_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters_module, "RETRY_S", 0.01)
    world.chat.groups = {A: [(G, 0, 1)]}
    world.chat.away = True
    a, b = await world.online(A), await world.online(B)
    assert (a.ending, b.ending) == (None, None)
    world.chat.away = False
    async with asyncio.timeout(20):
        while a.ending is None:
            await asyncio.sleep(0.01)
    assert a.ending.code == 1001
    # Who is in no group has missed nothing.
    assert b.ending is None


async def test_those_who_were_not_told_something_come_again(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [("g:6", 0, 1)]}
    a, b = await world.online(A), await world.online(B)
    world.rosters.end_members([G, "g:7"])
    assert (a.ending is not None, b.ending) == (True, None)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("next_seqs", [[5, 6], [4, 6]])
async def test_members_come_again_when_one_of_their_group_was_not_pushed(
    world: World, next_seqs: list[int], together: bool
) -> None:
    """They saw what came before it, and find the rest by sync."""
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)], C: [("g:6", 0, 1)]}
    a, b, c = [await world.online(user_id) for user_id in (A, B, C)]
    world.push(_change(3, after=1, left=[B]))
    deliveries = [_said(seq, after=3) for seq in next_seqs]
    if together:
        world.rosters.deliver_all(deliveries)
    else:
        world.push(*deliveries)
    assert _seqs(a) == [3, *([4] if 4 in next_seqs and not together else [])]
    assert [one.ending is not None for one in (a, b, c)] == [True, False, False]


async def test_what_comes_twice_or_late_is_no_gap(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)]}
    a = await world.online(A)
    world.push(_said(7, after=1), _said(8, after=1), _said(7, after=1))
    world.rosters.deliver_all([_said(5, after=1), _said(6, after=1)])
    world.rosters.deliver_all([_said(8, after=1), _said(9, after=1)])
    typing = Delivery(frame=b"{}", conversation_id=G, seq=20, ephemeral=True, group=GroupTarget())
    world.push(typing, _said(10, after=1))
    assert a.ending is None


async def test_those_whose_group_redis_has_forgotten_come_again(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [("g:6", 0, 1)], C: [("g:7", 0, 1)]}
    a, b = await world.online(A), await world.online(B)
    began = time.monotonic()
    c = await world.online(C)
    world.told.groups = ["g:6"]
    await world.rosters.end_those_forgotten(began)
    assert [one.ending is not None for one in (a, b, c)] == [False, False, True]
    await world.rosters.end_those_forgotten(0.0)
    assert [one.ending is not None for one in (a, b, c)] == [True, False, True]


async def test_messages_that_come_together_go_to_each_as_if_they_came_alone(world: World) -> None:
    world.chat.groups = {A: [(G, 0, 1)], B: [(G, 0, 1)], C: [(G, 3, 4)]}
    a, b, c = [await world.online(user_id) for user_id in (A, B, C)]
    world.rosters.deliver(_said(3, after=1))
    held = await world.online(B)
    held.hold()
    run = [_said(2, after=1), _said(3, after=1), _said(4, after=4, by=B), _said(5, after=4)]
    world.rosters.deliver_all(run)
    held.release()
    assert [_seqs(one) for one in (a, b, c)] == [[3, 4, 5], [3, 5], [4, 5]]
    assert _seqs(held) == [2, 3, 5]
    # As before, none twice; and a slow reader is cut off.
    world.rosters.deliver_all([_said(5, after=4), _said(6, after=4), _said(7, after=4)])
    assert [_seqs(one)[-2:] for one in (a, b, c, held)] == [[6, 7]] * 4
    world.rosters.deliver_all([_said(seq, after=4) for seq in range(8, 200)])
    assert a.ending is not None
    assert a.ending.code == 4003
    world.rosters.deliver_all([_said(seq, after=4) for seq in (200, 201)])
    assert a.unsent_messages()[-1] == message(201)


async def test_who_was_a_member_before_it_was_known_here_comes_again(world: World) -> None:
    """A change that tells of somebody else's place in the group from before it."""
    a, b = await world.online(A), await world.online(B)
    moved = [GroupStanding(user_id=A, min_seq=0), GroupStanding(user_id=B, min_seq=4_999)]
    target = GroupTarget(is_change=True, moved=moved)
    world.push(Delivery(frame=message(5_000), conversation_id=G, seq=5_000, group=target))
    # What was said before the change was for A, and nobody sent it.
    assert a.ending is not None
    assert (b.ending, _seqs(b)) == (None, [5_000])
