"""To whom the consumer delivers: gateways that answer or not, offline lists, other devices."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from im.gateway.v1.outcome_pb2 import Answer
from im.gateway.v1.push_pb2 import PushRequest
from im_common.domain.ids import now_ms
from im_common.domain.missed import MissedLog
from im_common.domain.routes import Route, RouteTable

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B, C = 1001, 1002, 1003


async def test_an_unreachable_gateway_counts_as_away(world: World) -> None:
    gone = Route("127.0.0.1:1", 5, "web", "d")
    await RouteTable(world.redis).put([(B, gone)])
    await world.handle([world.record(A, B, "x")])
    assert [f["content"] for f in await world.offline(B)] == ["x"]


async def test_a_gateway_that_no_longer_has_the_user_is_told_to_look_at_the_list(
    world: World,
) -> None:
    await world.online(B)
    world.gateway.users.clear()
    await world.handle([world.record(A, B, "x")])
    assert [f["content"] for f in await world.offline(B)] == ["x"]
    # The route is there: in the race it is a new connection, which must look again.
    assert list(world.gateway.requests[-1].listed_user_ids) == [B]


async def test_who_had_no_route_for_a_moment_gets_the_list_before_what_is_new(
    world: World,
) -> None:
    await world.handle([world.record(A, B, "x")])
    await world.online(B)
    for content in ("y", "z"):
        await world.handle([world.record(A, B, content)])
    pushes = [r for r in world.gateway.requests if r.deliveries]
    assert [list(push.listed_user_ids) for push in pushes] == [[B], []]


async def test_a_push_that_was_cancelled_told_nobody_to_look_at_the_list(world: World) -> None:
    await world.handle([world.record(A, B, "x")])
    await world.online(B)
    pushed = asyncio.Event()

    async def hang(_: Any) -> None:
        pushed.set()
        await asyncio.sleep(60)

    world.gateway.before = hang
    delivering = asyncio.create_task(world.handle([world.record(A, B, "y")]))
    await pushed.wait()
    delivering.cancel()
    await asyncio.wait([delivering])
    world.gateway.before = None
    await world.handle([world.record(A, B, "z")])
    push = [r for r in world.gateway.requests if r.deliveries][-1]
    assert list(push.listed_user_ids) == [B]


async def test_who_could_not_be_reached_gets_the_list_before_what_is_new(world: World) -> None:
    async with world.gateway.serving() as address:
        await RouteTable(world.redis).put([(B, Route(address, 5, "web", "d"))])
        world.gateway.users.add(B)
    for content in ("x", "y"):
        await world.handle([world.record(A, B, content)])
    assert [f["content"] for f in await world.offline(B)] == ["x", "y"]
    async with world.gateway.serving(address):
        for content in ("back", "z"):
            at = now_ms() + 1
            await world.handle([world.record(A, B, content, gateway=address, timestamp=at)])
    pushes = [r for r in world.gateway.requests if r.deliveries]
    assert [list(push.listed_user_ids) for push in pushes] == [[B], []]


async def test_a_gateway_that_is_late_is_waited_for(world: World) -> None:
    """Its process lives, its event loop is busy: nothing is listed, nothing is sent twice."""
    pushes: list[int] = []

    async def think(_: Any) -> None:
        pushes.append(1)
        # All of this process: the gateway of the test is in it.
        time.sleep(4)  # noqa: ASYNC251

    await world.online(B)
    world.gateway.before = think
    await world.handle([world.record(A, B, "x")])
    assert (len(pushes), len(world.gateway.answers())) == (1, 1)
    assert await world.offline(B) == []


async def test_who_was_not_reached_at_a_gateway_that_may_live_is_told_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender's other device, too: it must not stay connected with something missing."""
    monkeypatch.setattr("chat_service.gateways.SILENT_S", 0.3)
    await world.online(A, connection_id=78)
    await world.online(B)
    silent = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    for user_id, connection_id in ((A, 78), (B, 79)):
        await RouteTable(world.redis).put([(user_id, Route(address, connection_id, "web", "e"))])
    await world.handle([world.record(A, B, "x")])
    assert sorted(await MissedLog(world.redis).take(address)) == [A, B]
    silent.close()
    async with world.gateway.serving(address):
        for content in ("back", "z"):
            at = now_ms() + 1
            await world.handle([world.record(A, B, content, gateway=address, timestamp=at)])
    told = [sorted(push.missed_user_ids) for push in world.gateway.requests if push.missed_user_ids]
    assert told == [[A, B]]


async def test_who_was_missed_while_another_push_was_on_its_way_is_told_with_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one began before, and ends well after."""
    monkeypatch.setattr("chat_service.gateways.SILENT_S", 0.3)
    for number, user_id in enumerate((B, C), 78):
        await world.online(user_id, connection_id=number)
    arrived, may_end, is_broken = asyncio.Event(), asyncio.Event(), True

    async def before(request: Any) -> None:
        users = {user_id for delivery in request.deliveries for user_id in delivery.user_ids}
        if C in users:
            arrived.set()
            await may_end.wait()
        elif B in users and is_broken:
            raise RuntimeError("broken")

    world.gateway.before = before
    other = asyncio.create_task(world.handle([world.record(A, C, "other")]))
    await arrived.wait()
    await world.handle([world.record(A, B, "missed")])
    may_end.set()
    await other
    is_broken = False
    await world.handle([world.record(A, B, "next")])
    assert list(world.gateway.requests[-1].missed_user_ids) == [B]
    await world.handle([world.record(A, B, "last")])
    assert list(world.gateway.requests[-1].missed_user_ids) == []


async def test_whose_gateway_has_ended_missed_nothing_on_it(world: World) -> None:
    async with world.gateway.serving() as address:
        await RouteTable(world.redis).put([(B, Route(address, 5, "web", "d"))])
    await world.handle([world.record(A, B, "x")])
    assert await MissedLog(world.redis).take(address) == []
    assert [f["content"] for f in await world.offline(B)] == ["x"]


async def test_a_gateway_that_is_behind_is_given_time(world: World) -> None:
    await world.online(B)
    for behind_ms in (0, 200, 0):
        world.gateway.behind_ms = behind_ms
        began = time.monotonic()
        await world.handle([world.record(A, B, "x")])
    assert time.monotonic() - began >= 0.2


async def test_the_senders_other_devices_get_a_copy(world: World) -> None:
    await world.online(A, connection_id=77)
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    assert world.gateway.delivered(A) == []
    await world.online(A, connection_id=78)
    await world.handle([world.record(A, B, "y", client_msg_id="d")])
    (copy,) = world.gateway.delivered(A)
    assert copy["client_msg_id"] == "d"
    (delivery,) = [d for r in world.gateway.requests for d in r.deliveries]
    assert delivery.except_connection_id == 77


async def test_who_is_away_has_the_message_in_the_list_before_the_sender_is_told(
    world: World,
) -> None:
    waiting: list[int] = []

    async def look(_: Any) -> None:
        waiting.append(len(await world.offline(B)))

    world.gateway.before = look
    await world.handle([world.record(A, B, "x")])
    assert waiting == [1]


async def test_a_gateway_that_comes_back_is_pushed_to_at_once(world: World) -> None:
    async with world.gateway.serving() as again:
        world.gateway.address = again
        await world.handle([world.record(A, B, "before")])
        assert len(world.gateway.answers()) == 1
    await world.handle([world.record(A, B, "lost")])
    async with world.gateway.serving(again):
        await world.handle([world.record(A, B, "back")])
        assert len(world.gateway.answers()) == 2


@pytest.mark.parametrize(
    "told", [{"missed_user_ids": [B]}, {"missed_conversation_ids": ["g:1"]}], ids=str
)
async def test_a_gateway_is_told_of_what_was_missed_with_answers_alone(
    world: World, told: dict[str, Any]
) -> None:
    """And not the part of it that tells a call its outcome, which knows no connections."""
    request = PushRequest(**told, answers=[Answer(token=1, frame=b"{}")])
    await world.gateways.push({world.gateway.address: request})
    assert world.gateway.requests == [request]


# --- where users were the last time ---------------------------------------------------------------


async def test_what_a_pair_says_next_does_not_wait_for_a_look_at_the_routes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, may_find, arrived = RouteTable.find, asyncio.Event(), asyncio.Event()

    async def slow(table: RouteTable, user_ids: list[int]) -> Any:
        await may_find.wait()
        return await find(table, user_ids)

    async def arrives(_: Any) -> None:
        arrived.set()

    for number, user_id in enumerate((A, B), 77):
        await world.online(user_id, connection_id=number)
    await world.handle([world.record(A, B, "x")])
    monkeypatch.setattr(RouteTable, "find", slow)
    world.gateway.before = arrives
    saying = asyncio.create_task(world.handle([world.record(A, B, "y")]))
    await arrived.wait()
    may_find.set()
    await saying
    assert [frame["content"] for frame in world.gateway.delivered(B)] == ["x", "y"]
    assert len(world.gateway.answers()) == 2
    assert world.gateway.requests[-1].only_if_here


async def test_who_has_come_to_another_gateway_as_well_gets_it_at_both(world: World) -> None:
    for number, user_id in enumerate((A, B), 77):
        await world.online(user_id, connection_id=number)
    await world.handle([world.record(A, B, "x")])
    other = type(world.gateway)(None)
    other.users.add(B)
    async with other.serving() as address:
        await RouteTable(world.redis).put([(B, Route(address, 90, "ios", "e"))])
        for content in ("y", "z"):
            await world.handle([world.record(A, B, content)])
    assert [frame["content"] for frame in other.delivered(B)] == ["y", "z"]
    here = [frame["content"] for frame in world.gateway.delivered(B)]
    # A connection drops what it has had.
    assert list(dict.fromkeys(here)) == ["x", "y", "z"]


async def test_for_who_has_gone_it_is_in_the_list_before_the_sender_is_told(world: World) -> None:
    for number, user_id in enumerate((A, B), 77):
        await world.online(user_id, connection_id=number)
    await world.handle([world.record(A, B, "x")])
    await RouteTable(world.redis).remove(B, Route(world.gateway.address, 78, "web", "d"))
    world.gateway.users.remove(B)
    listed: list[list[str]] = []

    async def look(request: Any) -> None:
        if request.answers and not request.only_if_here:
            listed.append([frame["content"] for frame in await world.offline(B)])

    world.gateway.before = look
    for content in ("y", "z"):
        await world.handle([world.record(A, B, content)])
    assert listed == [["y"], ["y", "z"]]
    assert len(world.gateway.answers()) == 3


async def test_who_was_reached_although_the_routes_are_lost_finds_nothing_in_the_list(
    world: World,
) -> None:
    for number, user_id in enumerate((A, B), 77):
        await world.online(user_id, connection_id=number)
    await world.handle([world.record(A, B, "x")])
    await RouteTable(world.redis).remove(B, Route(world.gateway.address, 78, "web", "d"))
    await world.handle([world.record(A, B, "y")])
    assert [frame["content"] for frame in world.gateway.delivered(B)] == ["x", "y"]
    assert await world.offline(B) == []


async def test_a_device_of_the_sender_that_has_come_since_gets_a_copy(world: World) -> None:
    for number, user_id in enumerate((A, B), 77):
        await world.online(user_id, connection_id=number)
    await world.handle([world.record(A, B, "x")])
    await world.online(A, connection_id=91)
    await world.handle([world.record(A, B, "y")])
    assert [frame["content"] for frame in world.gateway.delivered(A)] == ["y"]
