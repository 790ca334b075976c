"""Whose friends are told what, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from chat_service.logic import presence
from chat_service.logic.notify import Note, Notifier
from chat_service.logic.presence import GONE_AFTER_MS, PresenceTeller, decide
from im.friend.v1 import friend_pb2
from im.gateway.v1.push_pb2 import PushRequest
from im.user.v1 import user_pb2
from im_common.domain.comings import HIDES, Comings, Look
from im_common.domain.ids import now_ms
from im_common.domain.routes import Route, RouteTable
from im_common.errors import AppError, Code
from im_common.testing.infra_redis import infra_redis
from im_common.testing.waiting import eventually

ANN, BOB = 1001, 1002
NOW = 1_000_000


@pytest.mark.parametrize(
    ("before", "until", "after", "again_at"),
    [
        # Came; is still here; came back in time.
        (None, NOW + 30_000, 0, NOW + 30_200),
        (0, NOW + 30_000, 0, NOW + 30_200),
        (NOW - 4_000, NOW + 30_000, 0, NOW + 30_200),
        # Has just gone; is away for a while; for long enough; was never here.
        (0, NOW - 1, NOW, NOW + GONE_AFTER_MS),
        (NOW - 4_000, 0, NOW - 4_000, NOW + 1_000),
        (NOW - 5_000, 0, None, None),
        (None, 0, None, None),
        # Hides, and may have changed their mind.
        (HIDES, NOW + 30_000, None, NOW),
    ],
)
def test_what_becomes_of_a_user(
    before: int | None, until: int, after: int | None, again_at: int | None
) -> None:
    look = Look(1, before, before)
    decide(look, until, NOW)
    assert (look.after, look.again_at) == (after, again_at)


@dataclass
class Services:
    """Answers for user- and friend-service, and takes what would be told."""

    friends: dict[int, list[int]] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    away: bool = False
    lists_away: bool = False
    refused: int = 0
    told: list[tuple[int, bool, list[int]]] = field(default_factory=list)
    # Beside each of them.
    last_seen: list[int] = field(default_factory=list)

    async def ListHidden(self, request: Any) -> user_pb2.ListHiddenResponse:
        if self.away:
            self.refused += 1
            raise AppError(Code.UNAVAILABLE, "away")
        return user_pb2.ListHiddenResponse(user_ids=self.hidden & set(request.user_ids))

    async def BatchListFriendIds(self, request: Any) -> friend_pb2.BatchListFriendIdsResponse:
        if self.lists_away:
            self.refused += 1
            raise AppError(Code.UNAVAILABLE, "away")
        lists = [friend_pb2.FriendIds(friend_ids=self.friends.get(u, [])) for u in request.user_ids]
        return friend_pb2.BatchListFriendIdsResponse(lists=lists)

    def tell(self, _key: object, note: Note) -> None:
        frame = msgspec.json.decode(note.frame)
        assert frame["type"] == "presence"
        self.last_seen.append(frame["last_seen"])
        self.told.append((frame["user_id"], frame["online"], list(note.user_ids)))


def _routes(user_ids: Iterable[int], connection_id: int) -> list[tuple[int, Route]]:
    return [(u, Route("127.0.0.1:1", connection_id, "web", "d")) for u in user_ids]


@dataclass
class World:
    redis: Redis
    services: Services

    async def come(self, *user_ids: int, connection_id: int = 1) -> None:
        await RouteTable(self.redis).put(_routes(user_ids, connection_id))
        await Comings(self.redis).touch(user_ids)

    async def go(self, *user_ids: int, connection_id: int = 1) -> None:
        table = RouteTable(self.redis)
        for user_id, route in _routes(user_ids, connection_id):
            await table.remove(user_id, route)
        await Comings(self.redis).touch(user_ids)

    @asynccontextmanager
    async def telling(self, count: int = 1) -> AsyncIterator[None]:
        services: Any = self.services
        tellers = [
            PresenceTeller(
                Comings(self.redis), RouteTable(self.redis), services, services, services
            )
            for _ in range(count)
        ]
        tasks = [asyncio.create_task(teller.run()) for teller in tellers]
        try:
            yield
        finally:
            while not all(task.done() for task in tasks):
                # More than once: a call of Redis that is being sent swallows it.
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=0.1)

    async def is_leaving(self, user_id: int) -> bool:
        return (await self.redis.zscore("{presence}:told", str(user_id)) or 0) > 0

    async def hears(self, *told: tuple[int, bool]) -> None:
        await eventually(lambda: len(self.services.told) >= len(told))
        assert [(user, online) for user, online, _ in self.services.told] == list(told)


@pytest.fixture
def world(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(presence, "GONE_AFTER_MS", 1_500)
    monkeypatch.setattr(presence, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(presence, "_RETRY_MS", 100)
    return World(redis, Services(friends={ANN: [BOB], BOB: [ANN]}))


async def test_friends_are_told_of_the_first_device_and_of_the_last(world: World) -> None:
    async with world.telling():
        await world.come(ANN)
        await world.hears((ANN, True))
        await world.come(ANN, connection_id=2)
        await world.go(ANN)
        # Bob comes after it: nothing else is told before.
        await world.come(BOB)
        await world.hears((ANN, True), (BOB, True))
        await world.go(ANN, connection_id=2)
        await world.hears((ANN, True), (BOB, True), (ANN, False))


async def test_who_comes_back_in_time_is_no_news(world: World) -> None:
    async with world.telling():
        await world.come(ANN)
        await world.come(BOB)
        await eventually(lambda: len(world.services.told) == 2)
        world.services.told.clear()
        await world.go(ANN)
        await world.go(BOB)
        # Her going was seen.
        await eventually(lambda: world.is_leaving(ANN))
        await world.come(ANN)
        await world.hears((BOB, False))


async def test_several_tell_once(world: World) -> None:
    users = range(5000, 5400)
    world.services.friends = {user: [BOB] for user in users}
    async with world.telling(3):
        await world.come(*users)
        await eventually(lambda: len(world.services.told) >= len(users))
        await world.go(*users)
        await eventually(lambda: len(world.services.told) >= 2 * len(users))
    assert sorted((user, online) for user, online, _ in world.services.told) == sorted(
        (user, online) for user in users for online in (True, False)
    )


async def test_a_gateway_that_died_keeps_nobody_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("im_common.domain.routes.TTL_MS", 500)
    async with world.telling():
        await world.come(ANN)
        await world.hears((ANN, True), (ANN, False))


async def test_of_who_hides_nobody_is_told(world: World) -> None:
    comings = Comings(world.redis)
    async with world.telling():
        world.services.hidden = {ANN}
        await world.come(ANN)
        await world.come(BOB)
        await world.hears((BOB, True))
        # No longer, and again.
        world.services.hidden = set()
        await comings.touch([ANN])
        await world.hears((BOB, True), (ANN, True))
        world.services.hidden = {ANN}
        await comings.hide(ANN)
        await world.hears((BOB, True), (ANN, True), (ANN, False))
        await world.go(ANN)
        await world.go(BOB)
        await world.hears((BOB, True), (ANN, True), (ANN, False), (BOB, False))


async def test_while_a_service_is_away_friends_are_told_later(world: World) -> None:
    world.services.away = True
    async with world.telling():
        await world.come(ANN)
        await eventually(lambda: world.services.refused >= 2)
        assert world.services.told == []
        world.services.away = False
        await world.hears((ANN, True))


async def test_friends_are_told_when_somebody_was_there_last(world: World) -> None:
    async with world.telling():
        came_at = now_ms()
        await world.come(ANN)
        await world.hears((ANN, True))
        went_at = now_ms()
        await world.go(ANN)
        await world.hears((ANN, True), (ANN, False))
        told_at = now_ms()
        # Who hides looks like somebody who was never here.
        await world.come(ANN)
        await eventually(lambda: len(world.services.told) == 3)
        world.services.hidden = {ANN}
        await Comings(world.redis).hide(ANN)
        await eventually(lambda: len(world.services.told) == 4)
    came, went, _, hid = world.services.last_seen
    assert came_at <= came <= went_at <= went <= told_at - presence.GONE_AFTER_MS
    assert hid == 0


async def test_while_a_service_is_away_friends_are_told_later_of_who_went(world: World) -> None:
    async with world.telling():
        await world.come(ANN)
        await world.hears((ANN, True))
        world.services.lists_away = True
        await world.go(ANN)
        await eventually(lambda: world.services.refused >= 2)
        world.services.lists_away = False
        await world.hears((ANN, True), (ANN, False))


async def test_five_thousand_friends_cost_a_few_commands_and_one_push_a_gateway(
    redis: Redis,
) -> None:
    if infra_redis():
        pytest.skip("each of several servers counts for itself")
    friends = range(2000, 7000)
    table = RouteTable(redis)
    gateways = ("127.0.0.1:1", "127.0.0.1:2")
    await table.put((f, Route(gateways[f % 2], f, "web", "d")) for f in friends if f % 10 < 4)
    pushed: list[dict[str, PushRequest]] = []

    class Gateways:
        async def offer(self, requests: dict[str, PushRequest]) -> None:
            pushed.append(dict(requests))

    notifier = Notifier(table, Gateways())  # type: ignore[arg-type]
    running = asyncio.create_task(notifier.run())
    await redis.config_resetstat()
    notifier.tell("ann", Note(b"{}", list(friends)))
    await eventually(lambda: pushed)
    commands = await redis.info("commandstats")
    running.cancel()
    assert sum(commands[name]["calls"] for name in commands if "eval" in name) <= 10
    (requests,) = pushed
    assert {gateway: len(r.deliveries) for gateway, r in requests.items()} == dict.fromkeys(
        gateways, 1
    )
    assert sum(len(r.deliveries[0].user_ids) for r in requests.values()) == 2000
