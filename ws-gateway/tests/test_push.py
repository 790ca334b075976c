"""What a push from the consumer does to connections."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from im.gateway.v1.push_pb2 import Delivery, PushRequest
from im_common.domain.in_flight import InFlight
from im_common.domain.routes import Route
from im_common.runtime.context import Identity
from im_common.testing.waiting import eventually
from ws_gateway.logic import receipts
from ws_gateway.logic.connection import Connection, Connections, Stores
from ws_gateway.logic.receipts import Receipts
from ws_gateway.logic.rosters import Rosters
from ws_gateway.logic.turns import Turns
from ws_gateway.server.push import PushServicer


def _gateway(*users: tuple[int, str]) -> Any:
    """With a connection for each (user, session)."""
    connections, nothing = Connections(), object()
    stores = Stores(nothing, nothing, nothing)  # type: ignore[arg-type]
    for number, (user_id, session_id) in enumerate(users, 1):
        identity = Identity(user_id, session_id, "d", "web", 0)
        route = Route("h:1", number, "web", "d")
        connection = Connection(identity, route, stores, max_queue=100)
        connection.opened_at = 1.0
        connections.add(connection)
    return SimpleNamespace(
        in_flight=InFlight(),
        connections=connections,
        receipts=Receipts(connections),
        rosters=Rosters(connections, nothing, nothing),  # type: ignore[arg-type]
        turns=Turns(),
        missed_taken_at=time.monotonic(),
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


async def test_a_session_that_is_left_out_is_not_told() -> None:
    svc = _gateway((7, "gone"), (7, "stays"))
    delivery = Delivery(frame=b"new", user_ids=[7], except_session_ids=["gone"])
    await PushServicer(svc).Push(PushRequest(deliveries=[delivery]), None)
    assert [len(connection.outbox) for connection in svc.connections.of(7)] == [0, 1]


async def test_of_the_receipts_of_a_group_one_passes_at_a_time_and_the_newest_of_each_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receipts, "EVERY_S", 0.05)
    svc = _gateway((7, "s"))

    async def push(on: str, *told: tuple[int, bytes]) -> None:
        deliveries = [
            Delivery(
                frame=frame,
                user_ids=[7],
                conversation_id=on,
                ephemeral=True,
                receipt_user_id=user_id,
            )
            for user_id, frame in told
        ]
        await PushServicer(svc).Push(PushRequest(deliveries=deliveries), None)

    await push("g:1", (8, b"8 has read 1"), (8, b"8 has read 2"), (9, b"9 has read 1"))
    await push("g:1", (8, b"8 has read 3"))
    await push("g:2", (8, b"8 has read 1 of another"))
    queue = svc.connections.of(7)[0].outbox.queue
    at_once = [b"8 has read 1", b"8 has read 1 of another"]
    assert [item.frame for item in queue] == at_once
    await eventually(lambda: len(queue) == 4)
    rest = [b"8 has read 3", b"9 has read 1"]
    assert [item.frame for item in queue] == at_once + rest
    # When nothing has waited for a turn, the next one passes at once.
    await eventually(lambda: not svc.receipts._waiting)
    await push("g:1", (9, b"9 has read 3"))
    assert len(queue) == 5
