"""The gateway on a real port: what ending connections are owed, and a Redis that was started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from ws_server import Gateway, gateway, redis, running, valkey

from im.gateway.v1.push_pb2 import Delivery, GroupStanding, GroupTarget
from im_common.domain import in_flight as in_flight_module
from im_common.domain.offline import OfflineList
from im_common.domain.routes import TTL_MS, Route
from im_common.testing.waiting import eventually
from ws_gateway.logic import upkeep
from ws_gateway.server import reading

__all__ = ["gateway", "redis", "valkey"]


def _push_event(gateway: Gateway, number: int) -> None:
    frame = b'{"type":"event","event_id":"e%d","event":"FriendDeleted","data":{}}' % number
    delivery = Delivery(
        frame=frame, user_ids=[7], conversation_id="events:1", seq=number, event_id=f"e{number}"
    )
    # Nobody else keeps it: the user has a connection here.
    assert gateway.svc.connections.hand_over(delivery) == []


async def test_what_an_ending_connection_was_given_goes_to_the_one_that_comes_next(
    gateway: Gateway,
) -> None:
    async with gateway.user(7) as old:
        [ending] = gateway.svc.connections.of(7)
        _push_event(gateway, 1)
        assert msgspec.json.decode(await old.recv())["event_id"] == "e1"
        # It does not answer the close frame, so that its connection is there for some time yet.
        old.transport.pause_reading()
        ending.missed()
        _push_event(gateway, 2)
        _push_event(gateway, 3)
        async with gateway.user(7) as new:
            _push_event(gateway, 4)
            heard = [msgspec.json.decode(await new.recv())["event_id"] for _ in range(3)]
            assert heard == ["e2", "e3", "e4"]
            assert ending in gateway.svc.connections.of(7)
            old.transport.resume_reading()
            await eventually(lambda: ending not in gateway.svc.connections.of(7))
            assert await gateway.svc.offline.waiting([7]) == []


class SlowList(OfflineList):
    """Puts nothing into a list before it is told to."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.appending = asyncio.Event()
        self.may_append = asyncio.Event()
        self.failures = 0

    async def append(self, frames: Any) -> None:
        self.appending.set()
        await self.may_append.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("Redis is away")
        await super().append(frames)


@asynccontextmanager
async def _leaving(gateway: Gateway, slow: SlowList) -> AsyncIterator[None]:
    """Somebody's only connection, which ends with `e1` unsent, until that is on its way to the list."""
    gateway.svc.offline = slow
    async with gateway.user(7):
        [connection] = gateway.svc.connections.of(7)
        connection.missed()
        _push_event(gateway, 1)
    await slow.appending.wait()
    yield
    await eventually(lambda: not gateway.svc.connections.of(7))


def _listed(frames: list[bytes]) -> list[str]:
    return [msgspec.json.decode(frame)["event_id"] for frame in frames]


async def test_what_comes_while_the_unsent_is_put_into_the_list_comes_behind_it(
    gateway: Gateway, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who pushes would hear that the user has gone, and be quicker."""
    monkeypatch.setattr("ws_gateway.server.websocket.LIST_AGAIN_S", 0.01)
    slow = SlowList(redis)
    slow.failures = 2
    async with _leaving(gateway, slow):
        _push_event(gateway, 2)
        slow.may_append.set()
    frames, _ = await slow.head(7)
    assert _listed(frames) == ["e1", "e2"]


async def test_who_comes_while_the_unsent_is_put_into_the_list_is_sent_it_first_and_once(
    gateway: Gateway, redis: Redis
) -> None:
    slow = SlowList(redis)
    async with _leaving(gateway, slow), gateway.user(7) as new:
        _push_event(gateway, 2)
        heard = [msgspec.json.decode(await new.recv())["event_id"] for _ in range(2)]
        slow.may_append.set()
        await eventually(lambda: len(gateway.svc.connections.of(7)) == 1)
        [connection] = gateway.svc.connections.of(7)
        connection.backlog.look()
        await eventually(lambda: connection._held is None)
        _push_event(gateway, 3)
        heard.append(msgspec.json.decode(await new.recv())["event_id"])
        assert heard == ["e1", "e2", "e3"]


async def test_of_two_that_have_gone_one_puts_the_unsent_into_the_list(
    gateway: Gateway, redis: Redis
) -> None:
    gateway.svc.offline = slow = SlowList(redis)
    async with gateway.user(7), gateway.user(7):
        for connection in gateway.svc.connections.of(7):
            connection.missed()
        _push_event(gateway, 1)
    await slow.appending.wait()
    _push_event(gateway, 2)
    slow.may_append.set()
    await eventually(lambda: not gateway.svc.connections.of(7))
    frames, _ = await slow.head(7)
    assert _listed(frames) == ["e1", "e2"]


async def test_when_redis_was_started_again_those_whose_route_it_lost_come_again(
    gateway: Gateway,
) -> None:
    svc = gateway.svc
    await upkeep.look_at_redis(svc)
    async with gateway.user(7), gateway.user(8), gateway.user(9) as left:
        connections = svc.connections.all()
        [lost] = svc.connections.of(8)
        await svc.routes.remove(8, lost.route)
        svc.redis_run_id = "the one before"
        for _ in (1, 2):
            await upkeep.look_at_redis(svc)
        assert [c for c in connections if c.ending is not None] == [lost]
        assert sorted(await svc.routes.find([7, 9])) == [7, 9]
        await left.ping()


async def test_when_redis_was_started_again_members_of_a_group_that_it_does_not_know_come_again(
    gateway: Gateway, redis: Redis
) -> None:
    """Who pushes finds a gateway for a group there, too; their routes are old enough."""
    svc = gateway.svc
    await upkeep.look_at_redis(svc)
    async with gateway.user(7), gateway.user(8):
        (member,), (other,) = svc.connections.of(7), svc.connections.of(8)
        joined = GroupTarget(is_change=True, moved=[GroupStanding(user_id=7, min_seq=0)])
        message = Delivery(frame=b"{}", conversation_id="g:5", seq=1, group=joined)
        svc.rosters.deliver(message)
        await svc.rosters.register()
        svc.redis_run_id = "the one before"
        await upkeep.look_at_redis(svc)
        assert member.ending is None
        await redis.delete("gateways:g:5")
        svc.redis_run_id = "the one before"
        await upkeep.look_at_redis(svc)
        assert (member.ending is not None, other.ending) == (True, None)


async def test_who_comes_when_the_routes_had_run_out_is_found_for_its_groups(
    gateway: Gateway, redis: Redis
) -> None:
    """Redis stood still; that this gateway holds a member is over, too, and not yet written again."""
    svc = gateway.svc
    async with gateway.user(7):
        [old] = svc.connections.of(7)
        joined = GroupTarget(is_change=True, moved=[GroupStanding(user_id=7, min_seq=0)])
        message = Delivery(frame=b"{}", conversation_id="g:5", seq=1, group=joined)
        svc.rosters.deliver(message)
        await svc.rosters.register()
        await redis.delete("gateways:g:5")
        svc.routes_put_at -= TTL_MS / 1000
        async with gateway.user(7):
            assert old.ending is not None
            assert await redis.exists("gateways:g:5")
            # It stays, whatever comes next.
            async with gateway.user(8):
                endings = [one.ending for one in svc.connections.all() if one is not old]
                assert endings == [None, None]


async def test_no_route_is_written_for_who_is_ended_as_it_had_run_out(gateway: Gateway) -> None:
    """Nobody is to push to it what is newer than what it has missed."""
    svc = gateway.svc
    async with gateway.user(7):
        [old] = svc.connections.of(7)
        await svc.routes.remove(7, old.route)
        svc.routes_put_at -= TTL_MS / 1000
        await upkeep.renew_routes(svc)
        assert (old.ending is not None, await svc.routes.find([7])) == (True, {})
        # Who comes next has one of its own.
        async with gateway.user(7):
            await upkeep.renew_routes(svc)
            assert 7 in await svc.routes.find([7])


async def test_routes_are_not_written_again_before_it_is_known_who_was_lost(
    gateway: Gateway,
) -> None:
    svc = gateway.svc
    await upkeep.look_at_redis(svc)
    async with gateway.user(7):
        [connection] = svc.connections.of(7)
        await svc.routes.remove(7, connection.route)
        svc.redis_run_id = "the one before"
        await upkeep.renew_routes(svc)
        await upkeep.look_at_redis(svc)
        assert connection.ending is not None


async def test_a_device_that_is_sent_the_list_with_another_is_sent_what_waits_behind_it(
    gateway: Gateway,
) -> None:
    listed = b'{"type":"event","event_id":"e1","event":"FriendDeleted","data":{}}'
    await gateway.svc.offline.append([(7, [listed])])
    async with gateway.user(7) as first:
        batch = msgspec.json.decode(await first.recv())
        assert [event["event_id"] for event in batch["frames"]] == ["e1"]
        _push_event(gateway, 2)
        async with gateway.user(7) as second:
            _push_event(gateway, 3)
            shared = msgspec.json.decode(await second.recv())
            assert [event["event_id"] for event in shared["frames"]] == ["e1"]
            await first.send(f'{{"type":"offline_ack","batch_id":"{batch["batch_id"]}"}}')
            await second.send(f'{{"type":"offline_ack","batch_id":"{shared["batch_id"]}"}}')
            for device in (first, second):
                heard = [msgspec.json.decode(await device.recv())["event_id"] for _ in range(2)]
                assert heard == ["e2", "e3"]


async def test_a_message_without_an_outcome_is_answered_all_the_same(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("STUCK_S", 0.0), ("ANSWER_WITHIN_S", 0.2), ("TICK_S", 0.05)):
        monkeypatch.setattr(in_flight_module, name, seconds)
    async with gateway.user(7) as client, AsyncExitStack() as stack:
        limits = asyncio.create_task(gateway.svc.in_flight.run())
        stack.callback(limits.cancel)
        await client.send('{"type":"chat","to":8,"content":"x","client_msg_id":"c-1"}')
        # Long before its record counts as lost.
        async with asyncio.timeout(10):
            error = msgspec.json.decode(await client.recv())
        assert (error["type"], error["code"]) == ("error", "UNAVAILABLE")
        assert error["client_msg_id"] == "c-1"


async def test_those_who_come_at_once_go_in_by_few_questions(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[int] = []
    enter = gateway.svc.routes.enter

    async def counted(routes: Sequence[tuple[int, Route]]) -> list[list[Route]]:
        entered.append(len(routes))
        return await enter(routes)

    monkeypatch.setattr(gateway.svc.routes, "enter", counted)
    async with AsyncExitStack() as clients:
        coming = [clients.enter_async_context(gateway.user(100 + n)) for n in range(30)]
        await asyncio.gather(*coming)
        assert len(gateway.svc.connections) == sum(entered) == 30
        assert len(entered) < 15


async def test_when_redis_fails_those_on_their_way_are_sent_elsewhere(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Any) -> list[list[Route]]:
        raise ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.svc.routes, "enter", away)
        url = f"{gateway.url}?token=t-"
        clients = [await connect(f"{url}{user_id}", compression=None) for user_id in (7, 8)]
        for client in clients:
            with pytest.raises(ConnectionClosed) as ended:
                await client.recv()
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 1001
    await eventually(lambda: not len(gateway.svc.connections))
    async with gateway.user(7):
        pass


async def test_what_has_waited_unread_for_long_is_refused_and_what_comes_after_it_is_taken(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this process is what cannot do more, nobody else refuses anything."""
    monkeypatch.setattr(reading, "LATE_S", 0.0)
    count = 1500
    no_bound = {"messages_per_second": 100_000, "message_burst": 100_000}
    async with running(redis, **no_bound) as gateway, gateway.user(7) as client:
        for number in range(count):
            await client.send(_chat(number))
        refused: list[dict[str, Any]] = []
        hearing = asyncio.create_task(_hear(client, refused))
        # What is taken has no answer here, so that who waits for one more may wait for ever.
        await eventually(lambda: len(refused) + len(gateway.svc.in_flight) == count, within_s=20)
        hearing.cancel()
        assert len(refused) > count / 2
        assert {frame["code"] for frame in refused} == {"UNAVAILABLE"}
        assert all(frame["retry_after_ms"] > 0 for frame in refused)
        taken = len(gateway.svc.in_flight)
        await client.send(_chat(count))
        await eventually(lambda: len(gateway.svc.in_flight) == taken + 1)


async def _hear(client: ClientConnection, heard: list[dict[str, Any]]) -> None:
    async for frame in client:
        heard.append(msgspec.json.decode(frame))


def _chat(number: int) -> str:
    return f'{{"type":"chat","to":8,"content":"{"x" * 100}","client_msg_id":"{number}"}}'
