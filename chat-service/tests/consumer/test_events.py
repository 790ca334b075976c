"""Events on their way from the log to devices."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from chat_service.mq.entry import Poison
from chat_service.mq.events import EventWorker, decode
from im.bus.v1.event_pb2 import UserEvent
from im_common.bus import Record
from im_common.domain.events import BlockListChanged, user_event
from im_common.domain.offline import OfflineList
from im_common.domain.routes import Route, RouteTable

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B = 1001, 1002


def _record(user_id: int, target: int, position: str = "0") -> Record:
    made = user_event(user_id, BlockListChanged(user_id=target, blocked=True))
    return Record(made.topic, 2, position, made.key.encode(), made.value, {})


def _broken(value: bytes) -> Record:
    return Record("im-event-topic", 2, "0", b"1", value, {})


async def _handle(world: World, *records: Record) -> None:
    worker = EventWorker(world.consumer._deliverer, world.letters)
    finish = await worker.handle(records)
    await finish()


async def test_who_is_online_is_told_in_order(world: World) -> None:
    await world.online(A)
    records = [_record(A, target, str(at)) for at, target in enumerate((7, 8, 9))]
    await _handle(world, *records)
    told = world.gateway.delivered(A)
    assert [f["data"] for f in told] == [{"user_id": n, "blocked": True} for n in (7, 8, 9)]
    assert {(f["type"], f["event"]) for f in told} == {("event", "BlockListChanged")}
    assert [f["event_id"] for f in told] == [decode(record).event_id for record in records]
    assert await world.offline(A) == []


async def test_what_is_in_the_log_twice_is_told_once(world: World) -> None:
    """A device that came between the two would hear the second after younger ones."""
    worker = EventWorker(world.consumer._deliverer, world.letters)
    old, young = _record(A, 7, "5-0"), _record(A, 8, "5-1")
    again = replace(old, position="5-2")
    await world.online(A)
    for batch in ([old, young], [again]):
        finish = await worker.handle(batch)
        await finish()
    assert [f["data"]["user_id"] for f in world.gateway.delivered(A)] == [7, 8]


async def test_a_batch_that_comes_again_is_told_again(world: World) -> None:
    """Its partition was given up in the middle, and taken again."""
    worker = EventWorker(world.consumer._deliverer, world.letters)
    record = _record(A, 7, "5-0")
    await worker.handle([record])
    finish = await worker.handle([record])
    await finish()
    assert [f["data"]["user_id"] for f in await world.offline(A)] == [7]


async def test_who_is_away_finds_it_in_the_list_in_order(world: World) -> None:
    await _handle(world, _record(A, 7), _record(B, 8), _record(A, 9))
    assert [f["data"]["user_id"] for f in await world.offline(A)] == [7, 9]
    assert [f["data"]["user_id"] for f in await world.offline(B)] == [8]


async def test_an_unreachable_gateway_counts_as_away(world: World) -> None:
    gone = Route("127.0.0.1:1", 5, "web", "d")
    await RouteTable(world.redis).put([(A, gone)])
    await _handle(world, _record(A, 7))
    assert [f["data"]["user_id"] for f in await world.offline(A)] == [7]


async def test_who_came_online_meanwhile_is_told_to_look_at_the_list(world: World) -> None:
    await world.online(A)
    world.gateway.users.clear()
    await _handle(world, _record(A, 7))
    assert list(world.gateway.requests[-1].listed_user_ids) == [A]


async def test_an_event_does_not_overtake_the_list_beside_a_message_that_tells_to_look_at_it(
    world: World,
) -> None:
    """Messages and events are delivered side by side: the first push may be on its way for long."""
    await _handle(world, _record(A, 7))
    await world.online(A)
    pushed, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: Any) -> None:
        if not request.deliveries[0].event_id:
            pushed.set()
            await may_go_on.wait()

    world.gateway.before = wait
    delivering = asyncio.create_task(world.handle([world.record(B, A, "x")]))
    await pushed.wait()
    for target in (8, 9):
        await _handle(world, _record(A, target))
    may_go_on.set()
    await delivering
    await _handle(world, _record(A, 10))
    events = [r for r in world.gateway.requests if any(d.event_id for d in r.deliveries)]
    # Once one of the pushes has arrived, nobody says it again.
    assert [list(push.listed_user_ids) for push in events] == [[A], [], []]


async def test_who_was_told_to_look_before_the_list_had_it_is_told_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, appending, may_go_on = OfflineList.append, asyncio.Event(), asyncio.Event()

    async def append_late(self: Any, frames: Any) -> None:
        appending.set()
        await may_go_on.wait()
        await append(self, frames)

    monkeypatch.setattr(OfflineList, "append", append_late)
    keeping = asyncio.create_task(_handle(world, _record(A, 7)))
    await appending.wait()
    await world.online(A)
    await world.handle([world.record(B, A, "x")])
    may_go_on.set()
    await keeping
    await _handle(world, _record(A, 8))
    event = next(r for r in world.gateway.requests if any(d.event_id for d in r.deliveries))
    assert list(event.listed_user_ids) == [A]


async def test_a_record_that_is_no_event_becomes_a_dead_letter_and_holds_nobody_up(
    world: World,
) -> None:
    await world.online(A)
    nobody = UserEvent(event_id="e", event="X", data_json="{}").SerializeToString()
    no_json = UserEvent(event_id="e", event="X", user_id=A, data_json="{").SerializeToString()
    no_object = UserEvent(event_id="e", event="X", user_id=A, data_json="1").SerializeToString()
    broken = [_broken(value) for value in (b"\xff", nobody, no_json, no_object)]
    await _handle(world, *broken, _record(A, 7))
    assert len(world.letters.sent) == 4
    assert len(world.gateway.delivered(A)) == 1


@pytest.mark.parametrize("positions", [("9", "10"), ("1732793000000-9", "1732793000000-10")])
def test_a_place_in_the_log_is_a_number_that_grows(positions: tuple[str, str]) -> None:
    first, second = (decode(_record(A, 7, position)).seq for position in positions)
    assert 0 < first < second < 2**63


def test_what_the_log_starts_with_has_a_place() -> None:
    assert decode(_record(A, 7, "0")).seq > 0


@pytest.mark.parametrize("field", ["event_id", "event", "user_id"])
def test_a_record_without_an_id_a_name_or_a_user_is_refused(field: str) -> None:
    event = UserEvent(event_id="e", event="X", user_id=A, data_json="{}")
    assert decode(_broken(event.SerializeToString())).members == (A,)
    event.ClearField(field)
    with pytest.raises(Poison):
        decode(_broken(event.SerializeToString()))
