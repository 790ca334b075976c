"""What a push from the consumer does to connections."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ws_parts import nobody

from im.gateway.v1.outcome_pb2 import Answer
from im.gateway.v1.push_pb2 import Delivery, PushRequest
from im_common.domain.in_flight import InFlight, RetryKey
from im_common.domain.routes import TTL_MS, Route
from im_common.runtime.context import Identity
from im_common.testing.waiting import eventually
from ws_gateway.logic import missing, receipts
from ws_gateway.logic.connection import Connection, Connections, Stores
from ws_gateway.logic.missing import Missing
from ws_gateway.logic.receipts import Receipts
from ws_gateway.logic.rosters import Rosters
from ws_gateway.logic.turns import Turns
from ws_gateway.server.push import PushServicer


class Log:
    """Of who missed something; slow, when it is told to be."""

    def __init__(self, *missed: int | str) -> None:
        self.missed = list(missed)
        self.taking = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def take(self, _gateway: str) -> list[int | str]:
        # As Redis does: it is taken when the command is there, whenever the answer comes.
        taken, self.missed = self.missed, []
        self.taking.set()
        await self.may_answer.wait()
        return taken

    async def taken(self, _gateway: str) -> None: ...


def _comes(connections: Connections, user_id: int, session_id: str) -> Connection:
    nothing = object()
    stores = Stores(nothing, nothing, nothing, nobody)  # type: ignore[arg-type]
    identity = Identity(user_id, session_id, "d", "web", 0)
    route = Route("h:1", len(connections) + 1, "web", "d")
    connection = Connection(identity, route, stores, max_queue=100)
    connection.opened_at = 1.0
    connections.add(connection)
    return connection


def _gateway(*users: tuple[int, str], log: Log | None = None) -> Any:
    """With a connection for each (user, session)."""
    connections, nothing = Connections(), object()
    for user_id, session_id in users:
        _comes(connections, user_id, session_id)
    rosters = Rosters(connections, nothing, nothing)  # type: ignore[arg-type]
    return SimpleNamespace(
        in_flight=InFlight(),
        connections=connections,
        receipts=Receipts(connections),
        rosters=rosters,
        turns=Turns(),
        routes_put_at=time.monotonic(),
        missing=Missing(log or Log(), connections, rosters),  # type: ignore[arg-type]
    )


async def test_who_is_told_to_look_at_the_list_gets_it_before_the_messages_of_the_push() -> None:
    svc = _gateway((7, "s"), (8, "s"))
    delivery = Delivery(frame=b"new", user_ids=[7, 8, 9], conversation_id="g:1", seq=5)
    answer = await PushServicer(svc).Push(
        PushRequest(deliveries=[delivery], listed_user_ids=[7]), None
    )
    held, free = svc.connections.of(7)[0], svc.connections.of(8)[0]
    assert (len(held.outbox), len(free.outbox), list(answer.absent_user_ids)) == (0, 1, [9])
    held.release()
    assert [item.frame for item in held.outbox.queue] == [b"new"]


async def test_of_a_push_for_who_was_here_nothing_is_done_when_one_is_gone() -> None:
    svc = _gateway((7, "s"))
    told: list[bytes] = []
    token = svc.in_flight.begin(RetryKey(7, "x"), "s:7:8", told.append)
    to = [Delivery(frame=b"f", user_ids=[u], conversation_id="s:7:8", seq=5) for u in (7, 8)]
    request = PushRequest(
        answers=[Answer(token=token, frame=b"sent")], deliveries=to, only_if_here=True
    )
    answer = await PushServicer(svc).Push(request, None)
    (here,) = svc.connections.of(7)
    assert (list(answer.absent_user_ids), len(here.outbox), told) == ([8], 0, [])
    _comes(svc.connections, 8, "s")
    answer = await PushServicer(svc).Push(request, None)
    assert (list(answer.absent_user_ids), len(here.outbox), told) == ([], 1, [b"sent"])


def _event(number: int) -> Delivery:
    return Delivery(
        frame=b"e%d" % number,
        user_ids=[7],
        conversation_id="events:1",
        seq=number,
        event_id=f"e{number}",
    )


async def test_who_missed_something_is_sent_nothing_newer_though_the_first_to_ask_gave_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The consumer waits only a moment for a gateway that stood still: its push is cancelled while the
    log is looked at, and the next one comes meanwhile."""
    monkeypatch.setattr(missing, "LATE_S", 0.0)
    log = Log(7)
    svc = _gateway((7, "s"), log=log)
    log.may_answer.clear()
    first, second = (
        asyncio.create_task(PushServicer(svc).Push(PushRequest(deliveries=[_event(n)]), None))
        for n in (1, 2)
    )
    await log.taking.wait()
    first.cancel()
    await asyncio.wait([first])
    [connection] = svc.connections.of(7)
    assert (connection.ending, len(connection.outbox)) == (None, 0)
    log.may_answer.set()
    # Who pushes puts it into the list, behind what is there.
    assert list((await second).absent_user_ids) == [7]
    assert (connection.ending is not None, connection.unsent_messages()) == (True, [])


async def test_an_event_that_is_repeated_is_not_told_to_a_device_that_came_since() -> None:
    """It may have heard a younger one on its connection before: the consumer died in between, and the
    one after it begins with what was not committed."""
    svc = _gateway((7, "steady"))
    push = PushServicer(svc).Push
    await push(PushRequest(deliveries=[_event(1)]), None)
    [steady] = svc.connections.of(7)
    came = _comes(svc.connections, 7, "phone")
    answer = await push(PushRequest(deliveries=[_event(1), _event(2)]), None)
    assert list(answer.absent_user_ids) == []
    assert [item.frame for item in came.outbox.queue] == [b"e2"]
    assert [item.frame for item in steady.outbox.queue] == [b"e1", b"e2"]


async def test_an_event_that_found_nobody_is_told_when_it_is_repeated() -> None:
    svc = _gateway()
    push = PushServicer(svc).Push
    assert list((await push(PushRequest(deliveries=[_event(1)]), None)).absent_user_ids) == [7]
    came = _comes(svc.connections, 7, "phone")
    await push(PushRequest(deliveries=[_event(1)]), None)
    assert [item.frame for item in came.outbox.queue] == [b"e1"]


async def test_a_look_that_began_before_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "LATE_S", 0.0)
    log = Log()
    svc = _gateway((7, "s"), log=log)
    log.may_answer.clear()
    looking = asyncio.create_task(svc.missing.look())
    await log.taking.wait()
    log.missed.append(7)
    pushing = asyncio.create_task(PushServicer(svc).Push(PushRequest(deliveries=[_event(1)]), None))
    await asyncio.sleep(0)
    log.may_answer.set()
    await looking
    assert list((await pushing).absent_user_ids) == [7]


async def test_what_a_connection_held_that_missed_something_is_left_to_the_list() -> None:
    """It is older than what is in the list by now, or is there itself."""
    svc = _gateway((7, "s"))
    [old] = svc.connections.of(7)
    old.hold()
    await PushServicer(svc).Push(PushRequest(deliveries=[_event(1)]), None)
    message = Delivery(frame=b"m", user_ids=[7], conversation_id="c", seq=1)
    await PushServicer(svc).Push(PushRequest(deliveries=[message]), None)
    late = PushRequest(deliveries=[_event(2)], missed_user_ids=[7])
    answer = await PushServicer(svc).Push(late, None)
    assert (old.unsent_messages(), list(answer.absent_user_ids)) == ([b"m"], [7])


async def test_what_did_not_leave_a_connection_that_missed_something_is_left_to_the_list() -> None:
    svc = _gateway((7, "s"))
    [old] = svc.connections.of(7)
    frames = [b'{"type":"event","event_id":"e1"}', b'{"type":"recalled","message_id":"m"}']
    old.deliver(frames[0], "events:1", 1, "e1")
    old.deliver(frames[1], "c", 0)
    await PushServicer(svc).Push(PushRequest(missed_user_ids=[7]), None)
    await old.close()
    assert old.unsent_messages() == frames[1:]


async def test_a_session_that_is_left_out_is_not_told() -> None:
    svc = _gateway((7, "gone"), (7, "stays"))
    delivery = Delivery(frame=b"new", user_ids=[7], except_session_ids=["gone"])
    await PushServicer(svc).Push(PushRequest(deliveries=[delivery]), None)
    assert [len(connection.outbox) for connection in svc.connections.of(7)] == [0, 1]


async def test_of_the_receipts_of_a_group_one_passes_at_a_time_and_the_newest_of_each_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receipts, "EVERY_S", 0.05)
    svc = _gateway((7, "s"), (6, "s"))

    async def push(on: str, *told: tuple[int, bytes], to: int = 7) -> None:
        deliveries = [
            Delivery(
                frame=frame,
                user_ids=[to],
                conversation_id=on,
                ephemeral=True,
                receipt_user_id=user_id,
            )
            for user_id, frame in told
        ]
        await PushServicer(svc).Push(PushRequest(deliveries=deliveries), None)

    await push("g:1", (8, b"8 has read 1"), (8, b"8 has read 2"), (9, b"9 has read 1"))
    await push("g:1", (8, b"8 has read 3"), to=6)
    await push("g:2", (8, b"8 has read 1 of another"))
    queue = svc.connections.of(7)[0].outbox.queue
    at_once = [b"8 has read 1", b"8 has read 1 of another"]
    assert [item.frame for item in queue] == at_once
    await eventually(lambda: len(queue) == 4)
    rest = [b"8 has read 3", b"9 has read 1"]
    assert [item.frame for item in queue] == at_once + rest
    # It passed what 6 wrote, too.
    assert [item.frame for item in svc.connections.of(6)[0].outbox.queue] == rest[:1]
    # When nothing has waited for a turn, the next one passes at once.
    await eventually(lambda: not svc.receipts._waiting)
    await push("g:1", (9, b"9 has read 3"))
    assert len(queue) == 5


async def test_whose_routes_ran_out_while_the_gateway_stood_still_is_sent_nothing_newer() -> None:
    """Meanwhile the consumer has put what came into lists, as for somebody who is away."""
    svc = _gateway((7, "s"))
    svc.routes_put_at -= TTL_MS / 1000
    answer = await PushServicer(svc).Push(PushRequest(deliveries=[_event(1)]), None)
    [connection] = svc.connections.of(7)
    assert (connection.ending is not None, connection.unsent_messages()) == (True, [])
    assert list(answer.absent_user_ids) == [7]
