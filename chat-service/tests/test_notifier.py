"""Frames that are of use only now: whom they reach, and what becomes of what cannot be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis

from chat_service.logic import notify
from chat_service.logic.notify import Note, Notifier
from im.gateway.v1.push_pb2 import PushRequest
from im_common.domain.routes import Route, RouteTable
from im_common.testing.waiting import eventually

A, B = 1001, 1002
HERE, THERE = "127.0.0.1:1", "127.0.0.1:2"


class Gateways:
    """Takes what is offered, but for the first ``lost`` times."""

    def __init__(self, lost: int = 0) -> None:
        self.offered: list[dict[str, PushRequest]] = []
        self._lost = lost

    async def offer(self, requests: Mapping[str, PushRequest]) -> None:
        if self._lost:
            self._lost -= 1
            raise ConnectionError("away")
        self.offered.append(dict(requests))

    def frames(self) -> list[bytes]:
        return [d.frame for one in self.offered for r in one.values() for d in r.deliveries]


@asynccontextmanager
async def _sending(notifier: Notifier) -> AsyncIterator[None]:
    running = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def _notifier(redis: Redis, gateways: Gateways) -> Notifier:
    return Notifier(RouteTable(redis), gateways)  # type: ignore[arg-type]


async def _connect(redis: Redis, *connections: tuple[int, str, int]) -> None:
    routes = ((u, Route(gateway, number, "web", "d")) for u, gateway, number in connections)
    await RouteTable(redis).put(routes)


async def test_all_devices_are_told_but_the_connection_that_caused_it(redis: Redis) -> None:
    # The same number at another gateway is another connection.
    await _connect(redis, (A, HERE, 1), (A, THERE, 1), (B, HERE, 3), (B, HERE, 4))
    gateways = Gateways()
    notifier = _notifier(redis, gateways)
    notifier.tell("typing", Note(b"{}", [A, B], HERE, 1))
    async with _sending(notifier):
        await eventually(lambda: gateways.offered)
    (requests,) = gateways.offered
    told = {gateway: request.deliveries[0] for gateway, request in requests.items()}
    assert {at: list(one.user_ids) for at, one in told.items()} == {HERE: [B], THERE: [A]}
    assert {at: one.except_connection_id for at, one in told.items()} == {HERE: 1, THERE: 0}
    assert all(one.ephemeral for one in told.values())


async def test_a_receipt_of_a_group_says_whose_it_is(redis: Redis) -> None:
    await _connect(redis, (A, HERE, 1))
    gateways = Gateways()
    notifier = _notifier(redis, gateways)
    notifier.tell("one", Note(b"1", [A], receipt_of=(B, "g:5")))
    notifier.tell("other", Note(b"2", [A]))
    async with _sending(notifier):
        await eventually(lambda: len(gateways.frames()) == 2)
    said = [(d.conversation_id, d.receipt_user_id) for d in gateways.offered[0][HERE].deliveries]
    assert said == [("g:5", B), ("", 0)]


async def test_what_waits_goes_in_batches(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "BATCH", 2)
    await _connect(redis, (A, HERE, 1))
    gateways = Gateways()
    notifier = _notifier(redis, gateways)
    for n in range(5):
        notifier.tell(n, Note(b"%d" % n, [A]))
    async with _sending(notifier):
        await eventually(lambda: len(gateways.frames()) == 5)
        # What comes later is sent, too, and nothing a second time.
        notifier.tell(5, Note(b"5", [A]))
        await eventually(lambda: len(gateways.frames()) == 6)
    assert [len(one[HERE].deliveries) for one in gateways.offered] == [2, 2, 1, 1]
    assert gateways.frames() == [b"%d" % n for n in range(6)]


async def test_what_cannot_be_sent_is_lost_and_the_next_is_sent(redis: Redis) -> None:
    await _connect(redis, (A, HERE, 1))
    gateways = Gateways(lost=1)
    notifier = _notifier(redis, gateways)
    async with _sending(notifier):
        notifier.tell("a", Note(b"1", [A]))
        await eventually(lambda: not gateways._lost)
        notifier.tell("b", Note(b"2", [A]))
        await eventually(lambda: gateways.offered)
    assert gateways.frames() == [b"2"]


async def test_beyond_what_may_wait_only_what_waits_is_made_newer(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "MOST_WAITING", 2)
    await _connect(redis, (A, HERE, 1))
    gateways = Gateways()
    notifier = _notifier(redis, gateways)
    for key, frame in (("a", b"1"), ("b", b"2"), ("c", b"3"), ("a", b"4")):
        notifier.tell(key, Note(frame, [A]))
    async with _sending(notifier):
        await eventually(lambda: len(gateways.frames()) >= 2)
    assert gateways.frames() == [b"4", b"2"]
