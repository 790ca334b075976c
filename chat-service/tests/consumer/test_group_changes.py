"""Changes of groups: messages of the system, and who sees what from then on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from chat_service.logic import cursors, history, overview, own_view, readers, search, sync
from chat_service.logic.history import Bounds
from chat_service.model.tables import conversation_members, messages
from im.group.v1.group_pb2 import GroupSendInfo
from im_common.domain.routes import Route, RouteTable
from im_common.errors import Code
from im_common.testing.groups import send_info
from im_common.testing.queries import counted_queries
from im_common.testing.services import refusal

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B, C, D = 1001, 1002, 1003, 1004


def _group(world: World, *members: int) -> None:
    world.owners.groups = {5: GroupSendInfo(group_id=5, member_ids=members, manager_ids=[A])}


def _say(world: World, content: str, sender: int = A) -> Any:
    return world.record(sender, 0, content, group_id=5)


async def _made(world: World, *members: int) -> None:
    _group(world, *members)
    await world.handle([world.change(A, 5, "group_created", joined_user_ids=members)])


async def _row(world: World, user_id: int) -> tuple[int, int, int | None] | None:
    """read_seq, min_seq and left_seq."""
    t = conversation_members.c
    query = select(t.read_seq, t.min_seq, t.left_seq).where(t.user_id == user_id)
    row = await world.db.read(lambda connection: connection.execute(query).first())
    return None if row is None else tuple(row)  # type: ignore[return-value]


class _Asked:
    """group-service for the logic, by the answers of the consumer's."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def BatchGetSendInfo(self, request: Any) -> Any:
        return send_info(request, self._world.owners.groups)


@pytest.fixture
def svc(world: World) -> Any:
    notifier = SimpleNamespace(tell=lambda *_: None)

    async def nobody(_: str) -> tuple[int, ...]:
        return ()

    audiences = SimpleNamespace(of=nobody)
    return SimpleNamespace(
        db=world.db, groups=_Asked(world), notifier=notifier, audiences=audiences
    )


async def _read(svc: Any, user_id: int) -> list[str]:
    """The user's history: contents, and the events of what the system says."""
    rows, _ = await history.get_group_history(svc, user_id, 5, Bounds())
    return [row.content or row.ext.split('"')[3] for row in rows]


async def test_a_change_is_a_message_of_who_made_it(world: World) -> None:
    _group(world, A, B)
    await world.online(B)
    await world.online(A)
    record = world.change(A, 5, "group_created", joined_user_ids=[A, B])
    await world.handle([record, _say(world, "hello")])
    told, said = world.gateway.delivered(B)
    assert (told["content_type"], told["content"], told["from"]) == ("system", "", A)
    assert (told["ext"], told["group_id"], told["seq"]) == ({"event": "group_created"}, 5, 1)
    assert "client_msg_id" not in told
    assert said["seq"] == 2
    assert [frame["seq"] for frame in world.gateway.delivered(A)] == [1, 2]
    # The gateway takes in who is a member from the first one alone.
    pushed = [d for request in world.gateway.requests for d in request.deliveries]
    to_members = [d for d in pushed if d.HasField("group")]
    assert {(d.seq, d.group.is_change) for d in to_members} == {(1, True), (2, False)}
    t = messages.c
    query = select(t.content_type, t.sender_id, t.ext)
    row = await world.db.read(lambda connection: connection.execute(query).first())
    assert tuple(row) == ("system", A, '{"event":"group_created"}')
    # Who made it has read it; nobody waits for an answer.
    assert (await _row(world, A), await _row(world, B)) == ((2, 0, None), (0, 0, None))
    assert len(world.gateway.answers()) == 1


async def test_a_record_that_comes_again_does_nothing_twice(world: World, svc: Any) -> None:
    await _made(world, A, B)
    left = world.change(A, 5, "member_removed", left_user_ids=[B])
    back = world.change(A, 5, "members_added", joined_user_ids=[B])
    for _ in range(2):
        await world.handle([left, back, _say(world, "later"), left])
        await world.handle([back])
    assert await _read(svc, A) == [
        "group_created",
        "member_removed",
        "members_added",
        "later",
        "later",
    ]
    assert await _row(world, B) == (2, 2, None)
    assert world.letters.sent == []


async def test_who_comes_sees_what_comes_then_and_who_leaves_no_more(
    world: World, svc: Any
) -> None:
    await _made(world, A, B)
    _group(world, A, C)
    await world.handle(
        [
            _say(world, "1"),
            world.change(A, 5, "members_added", joined_user_ids=[C]),
            _say(world, "2"),
            world.change(A, 5, "member_removed", left_user_ids=[B]),
            _say(world, "3"),
        ]
    )
    assert await _read(svc, C) == ["members_added", "2", "member_removed", "3"]
    # Who was removed reads what came before, and is in no list.
    assert await _read(svc, B) == ["group_created", "1", "members_added", "2"]
    assert await overview.get_unread_count(svc, C) == {"g:5": 4}
    assert await overview.get_unread_count(svc, B) == {}
    assert (await overview.list_conversations(svc, B, limit=0, cursor=""))[0] == []
    [delta], _ = await sync.sync(svc, B, {"g:5": 1}, 0)
    assert [row.seq for row in delta.messages] == [2, 3, 4]
    rows, _ = await search.search_messages(svc, B, "3", "", limit=0, cursor="")
    assert rows == []
    around, _ = await history.get_group_history(svc, B, 5, Bounds(around_seq=6, limit=10))
    assert [row.seq for row in around] == [1, 2, 3, 4]
    refused = await refusal(cursors.mark_as_read(svc, B, "g:5", 6))
    assert refused.code is Code.NOT_GROUP_MEMBER


async def test_who_is_removed_gets_nothing_more_though_the_route_was_lost(world: World) -> None:
    """A connection may be there whose route Redis has forgotten."""
    _group(world, A, B)
    await world.online(B)
    await world.handle([world.change(A, 5, "group_created", joined_user_ids=[A, B])])
    await RouteTable(world.redis).remove(B, Route(world.gateway.address, 1, "web", "d"))
    removed = world.change(A, 5, "member_removed", left_user_ids=[B])
    await world.handle([_say(world, "1"), removed])
    await world.handle([_say(world, "2")])
    assert [frame["seq"] for frame in world.gateway.delivered(B)] == [1, 2]


async def test_a_member_who_goes_away_and_comes_back_misses_nothing(world: World) -> None:
    await _made(world, A, B)
    await world.online(B)
    await world.handle([_say(world, "1")])
    # Gone from where it was the last time.
    world.gateway.users.discard(B)
    await RouteTable(world.redis).remove(B, Route(world.gateway.address, 1, "web", "d"))
    await world.handle([_say(world, "2")])
    await world.handle([_say(world, "3")])
    await world.online(B, 2)
    await world.handle([_say(world, "4")])
    assert [frame["seq"] for frame in world.gateway.delivered(B)] == [2, 5]
    assert [frame["seq"] for frame in await world.offline(B)] == [1, 3, 4]


async def test_who_leaves_may_be_alone_in_a_batch(world: World, svc: Any) -> None:
    await _made(world, A, B)
    await world.handle([world.change(B, 5, "member_left", left_user_ids=[B])])
    assert world.letters.sent == []
    assert await _read(svc, A) == ["group_created", "member_left"]
    assert await _row(world, B) == (0, 0, 1)


async def test_who_comes_back_sees_nothing_of_before(world: World, svc: Any) -> None:
    await _made(world, A, B)
    await world.handle([_say(world, "1"), world.change(B, 5, "member_left", left_user_ids=[B])])
    await world.handle([_say(world, "2")])
    await world.handle([world.change(B, 5, "member_joined", joined_user_ids=[B])])
    await world.handle([_say(world, "3")])
    assert await _read(svc, B) == ["member_joined", "3"]
    assert await overview.get_unread_count(svc, B) == {"g:5": 1}


async def test_a_member_of_whom_the_conversation_was_not_told_yet_sees_nothing_of_before(
    world: World, svc: Any
) -> None:
    """However fast the client is: group-service names it a member before the change has its place."""
    await _made(world, A, B)
    await world.handle([_say(world, "secret")])
    _group(world, A, B, C, D)
    assert await _read(svc, C) == []
    assert await cursors.mark_as_read(svc, C, "g:5", 2) == 0
    assert (await refusal(own_view.pin_conversation(svc, C, "g:5", True))).code is Code.NOT_FOUND
    await world.handle([_say(world, "too early", sender=D)])
    await world.handle([world.change(A, 5, "members_added", joined_user_ids=[C, D])])
    assert await _read(svc, C) == ["members_added"]
    assert await _read(svc, D) == ["too early", "members_added"]


@pytest.mark.parametrize("batches", [(4,), (1, 3), (1, 1, 2), (2, 2), (3, 1), (1, 2, 1)])
async def test_who_comes_back_keeps_what_they_wrote_before_the_change_had_its_place(
    world: World, svc: Any, batches: tuple[int, ...]
) -> None:
    await _made(world, A, B)
    records = [
        world.change(A, 5, "member_removed", left_user_ids=[B]),
        _say(world, "not for B"),
        _say(world, "early", sender=B),
        world.change(A, 5, "members_added", joined_user_ids=[B]),
    ]
    for size in batches:
        await world.handle([records.pop(0) for _ in range(size)])
    await world.handle([_say(world, "later")])
    assert await _read(svc, B) == ["early", "members_added", "later"]
    assert await overview.get_unread_count(svc, B) == {"g:5": 2}
    assert await _row(world, B) == (4, 3, None)


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("batches", [(4,), (1, 3), (2, 2), (3, 1)])
async def test_who_comes_sees_what_is_between_their_coming_and_what_they_write(
    world: World, svc: Any, was_there: bool, batches: tuple[int, ...]
) -> None:
    await _made(world, A, *([B] if was_there else []))
    _group(world, A, B)
    left = world.change(A, 5, "member_removed", left_user_ids=[B])
    await world.handle([left, _say(world, "not for B")])
    await world.online(B)
    records = [
        world.change(A, 5, "members_added", joined_user_ids=[B]),
        _say(world, "between"),
        _say(world, "mine", sender=B),
        _say(world, "later"),
    ]
    for size in batches:
        await world.handle([records.pop(0) for _ in range(size)])
    assert await _read(svc, B) == ["members_added", "between", "mine", "later"]
    assert [f["seq"] for f in world.gateway.delivered(B)] == [4, 5, 6, 7]
    assert await _row(world, B) == (6, 3, None)


async def test_who_left_is_not_back_by_a_change_that_is_stored_late(world: World, svc: Any) -> None:
    await _made(world, A, B)
    renamed = world.change(B, 5, "group_updated")
    await world.handle([world.change(B, 5, "member_left", left_user_ids=[B])])
    _group(world, A)
    await world.handle([renamed, _say(world, "later")])
    assert await _read(svc, B) == ["group_created"]
    assert (await _row(world, B) or ())[2] == 1


@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize("writes_early", [True, False])
async def test_who_went_and_came_back_before_a_message_was_delivered_gets_it(
    world: World, is_here: bool, writes_early: bool
) -> None:
    await _made(world, A, B)
    if is_here:
        await world.online(B)
    records = [
        _say(world, "1"),
        _say(world, "2"),
        world.change(A, 5, "member_removed", left_user_ids=[B], user_id=B),
        _say(world, "not for B", sender=A),
        _say(world, "early", sender=B if writes_early else A),
        world.change(A, 5, "members_added", joined_user_ids=[B], user_ids=[B]),
        _say(world, "later"),
    ]
    # Stored by a consumer that dies before it delivers.
    await world.consumer.handle(records)
    world.consumer = world.consumer_on(world.db)
    await world.handle(records)
    frames = world.gateway.delivered(B) if is_here else await world.offline(B)
    own = [6] if writes_early and is_here else []
    assert [frame["seq"] for frame in frames if frame["seq"] > 1] == [2, 3, *own, 7, 8]


async def test_a_message_before_the_group_is_told_of_makes_its_members(
    world: World, svc: Any
) -> None:
    _group(world, A, B, C)
    await world.handle(
        [
            _say(world, "1"),
            world.change(A, 5, "group_created", joined_user_ids=[A, B]),
            _say(world, "2"),
            world.change(A, 5, "members_added", joined_user_ids=[C]),
        ]
    )
    assert await _read(svc, A) == ["1", "group_created", "2", "members_added"]
    assert await _read(svc, C) == ["members_added"]


async def test_the_history_of_a_dismissed_group_stays(world: World, svc: Any) -> None:
    await _made(world, A, B, C)
    await world.online(B)
    removed = world.change(A, 5, "member_removed", left_user_ids=[C])
    world.owners.groups = {}
    await world.handle(
        [removed, world.change(A, 5, "group_dismissed", dismissed=True), _say(world, "late")]
    )
    assert [frame["seq"] for frame in world.gateway.delivered(B)] == [2, 3]
    assert [answer["code"] for answer in world.gateway.answers()] == ["NOT_FOUND"]
    assert await _read(svc, B) == ["group_created", "member_removed", "group_dismissed"]
    assert await _read(svc, C) == ["group_created"]
    assert [frame["seq"] for frame in await world.offline(C)] == [1]
    [item], _ = await overview.list_conversations(svc, B, limit=0, cursor="")
    assert item.standing.last_seq == 3


async def test_changes_cost_a_batch_two_statements_more_and_its_delivery_five(
    world: World,
) -> None:
    await _made(world, A, B, C)
    with counted_queries() as plain:
        deliver = await world.consumer.handle([_say(world, "x") for _ in range(3)])
    with counted_queries() as delivering:
        await deliver()
    # Who the members are is known since the last change.
    assert delivering == []
    changes = [
        world.change(A, 5, "member_removed", left_user_ids=[B]),
        world.change(A, 5, "members_added", joined_user_ids=[B]),
    ]
    with counted_queries() as with_changes:
        deliver = await world.consumer.handle([_say(world, "x"), *changes])
    assert len(with_changes) == len(plain) + 2
    with counted_queries() as delivering:
        await deliver()
    # Up to which change, who is a member now, who was one in between, who of those that came then had
    # been one before, where those stand who moved.
    assert len([query for query in delivering if "SELECT" in query]) == 5


async def test_a_change_without_a_group_or_an_id_is_a_dead_letter(world: World) -> None:
    _group(world, A)
    record = world.change(A, 0, "group_created")
    await world.handle([record, world.change(0, 5, "group_created")])
    assert len(world.letters.sent) == 2
    assert await world.stored() == []


async def test_who_sent_a_message_learns_who_has_read_it(world: World, svc: Any) -> None:
    await _made(world, A, B, C, D)
    await world.handle([_say(world, "x")])
    for reader in (B, C, D):
        await cursors.mark_as_read(svc, reader, "g:5", 2)
    await world.handle([world.change(A, 5, "member_removed", left_user_ids=[D])])

    async def read_by(user_id: int, seq: int, after: int = 0, limit: int = 0) -> Any:
        return await readers.list_readers(svc, user_id, 5, seq, after=after, limit=limit)

    assert await read_by(A, 2) == ([B, C], None)
    assert await read_by(A, 2, limit=1) == ([B], B)
    assert await read_by(A, 2, after=B, limit=1) == ([C], None)
    assert await read_by(A, 3) == ([], None)
    assert (await refusal(read_by(B, 2))).code is Code.PERMISSION_DENIED
    assert (await refusal(read_by(A, 9))).code is Code.NOT_FOUND
    error = await refusal(read_by(A, 0))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "seq")


async def test_a_page_of_readers_ends_where_enough_members_were_looked_at(
    world: World, svc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MOST_LOOKED_AT", 2)
    await _made(world, A, B, C, D)
    await world.handle([_say(world, "x")])
    await cursors.mark_as_read(svc, D, "g:5", 2)

    pages = [([], 0)]
    while (after := pages[-1][1]) is not None:
        pages.append(await readers.list_readers(svc, A, 5, 2, after=after, limit=50))

    # Nobody of A and B; and behind D nobody is left, which only a look shows.
    assert pages[1:] == [([], B), ([D], D), ([], None)]
