"""Redis Cluster: nothing that was kept is lost or moved while slots move and a primary dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from im_common.domain.comings import Comings, Look
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import Route, RouteTable
from im_common.runtime.faults import is_outage
from im_common.runtime.redis_client import answers, open_redis, run_of
from im_common.runtime.redis_scripts import Script
from im_common.runtime.shared_rate import Allowance, SharedBuckets
from im_common.testing.redis_cluster import RedisCluster, redis_cluster
from im_common.testing.waiting import eventually

USERS = range(1001, 1301)
OTHERS = range(2001, 2301)


async def _lists_and_routes_work(redis: Redis) -> None:
    """Of many users in one call, whose keys are on all nodes."""
    routes, gateways = RouteTable(redis), GroupGateways(redis)
    route = Route("127.0.0.1:1", 7, "web", "d")
    await routes.put((user_id, route) for user_id in USERS[:250])
    assert await routes.find(USERS) == {user_id: [route] for user_id in USERS[:250]}
    entered = await routes.enter([(user_id, route) for user_id in USERS])
    assert [len(before) for before in entered] == [1] * 250 + [0] * 50
    assert [bool(until) for until in await routes.last_until([*USERS, 1])] == [True] * 300 + [False]
    await gateways.put("127.0.0.1:1", [f"g:{n}" for n in range(50)])
    assert len(await gateways.find([f"g:{n}" for n in range(100)])) == 50

    offline = OfflineList(redis)
    await offline.append((user_id, [b"a", b"b"]) for user_id in USERS[::2])
    assert await offline.waiting(USERS) == list(USERS[::2])
    assert await offline.head(USERS[0], 1) == ([b"a"], 1)
    await offline.confirm(USERS[0], [b"a"])
    assert await offline.head(USERS[0]) == ([b"b"], 0)

    recalls = RecallLog(redis)
    first = await recalls.missed_by([(user_id, "d") for user_id in USERS])
    await recalls.add((user_id, [b"r%d" % user_id]) for user_id in USERS)
    missed = await asyncio.gather(*(recalls.missed(user_id, "d") for user_id in USERS))
    assert (first, missed) == ([[]] * 300, [[b"r%d" % user_id] for user_id in USERS])

    log = MissedLog(redis)
    await log.add({"127.0.0.1:1": [1001, "g:1"], "127.0.0.1:2": [1002]})
    assert set(await log.take("127.0.0.1:1")) == {1001, "g:1"}
    comings = Comings(redis)
    await comings.touch(USERS)
    claim = await comings.claim(300)
    assert {look.user_id for look in claim.looks} == set(USERS)
    await comings.settle(claim)
    assert (await comings.claim(300)).looks == list[Look]()
    allowed = Allowance(per_second=1, burst=1)
    taken = await SharedBuckets(redis).take([(f"u:{n}", allowed) for n in range(50)])
    assert [one.wait_ms for one in taken] == [0] * 50


class _Appending:
    """Appends numbered frames to the lists of users, without a pause; what fails is done again, as the
    consumer does."""

    def __init__(self, redis: Redis, users: range) -> None:
        self._offline = OfflineList(redis)
        self._users = users
        self.kept: list[int] = []
        self.failed: list[Exception] = []

    async def run(self) -> None:
        number = 0
        while True:
            try:
                await self._offline.append((user, [b"%d" % number]) for user in self._users)
            except Exception as error:
                if not is_outage(error):
                    raise
                self.failed.append(error)
                await asyncio.sleep(0.05)
                continue
            self.kept.append(number)
            number += 1

    async def until(self, more: int) -> None:
        wanted = len(self.kept) + more
        await eventually(lambda: len(self.kept) >= wanted, within_s=20)

    async def check(self) -> None:
        """All that was kept is there, once each but for what was repeated, and in order."""
        for user in self._users:
            frames, more = await self._offline.head(user, 1000)
            numbers = [int(frame) for frame in dict.fromkeys(frames)]
            assert more == 0
            assert numbers[: len(self.kept)] == self.kept, user
            assert len(numbers) <= len(self.kept) + 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run())
        try:
            await self.until(20)
            yield
            await self.until(20)
        except AssertionError:
            coroutine, where = task.get_coro(), []
            while (frame := getattr(coroutine, "cr_frame", None)) is not None:
                where.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
                coroutine = getattr(coroutine, "cr_await", None)
            last = Counter(map(str, self.failed)).most_common(3)
            raise AssertionError(f"{len(self.kept)} kept, then {where}; {last}") from None
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), (task.exception(), self.failed)


async def _a_slot_is_moved(cluster: RedisCluster, redis: Redis) -> None:
    appending = _Appending(redis, OTHERS[:40])
    async with appending.running():
        for user in OTHERS[:6]:
            slot = key_slot(f"offline:msg:{user}".encode())
            source = await cluster.primary_of(slot)
            await cluster.move(slot, to=(source + 1) % 3)
    await appending.check()
    assert appending.failed == []


async def _a_primary_dies(cluster: RedisCluster, redis: Redis) -> None:
    slot = key_slot(f"offline:msg:{OTHERS[100]}".encode())
    number, before = await cluster.primary_of(slot), await run_of(redis)
    appending = _Appending(redis, OTHERS[100:140])
    async with appending.running():
        cluster.servers[number].kill()
        await eventually(lambda: appending.failed)
    assert await cluster.primary_of(slot) == number + 3
    await appending.check()
    # Who has to be told of it, is; and that the dead one's replica has none of its own is no failure.
    assert await run_of(redis) != before
    await answers(redis)


async def _a_replica_that_stands_still_has_nothing(cluster: RedisCluster, redis: Redis) -> None:
    """Nothing is counted as kept until it goes on."""
    slot = key_slot(f"offline:msg:{OTHERS[200]}".encode())
    number = await cluster.primary_of(slot)
    script = Script(redis, "return redis.call('INCR', KEYS[1])")
    key = f"{{offline:msg:{OTHERS[200]}}}:n"
    assert await script([key], safely=True) == 1
    cluster.servers[(number + 3) % 6].freeze()
    try:
        with pytest.raises(Exception, match="no replica has it yet") as refused:
            await script([key], safely=True)
        assert is_outage(refused.value)
        assert await script([key]) > 1
    finally:
        cluster.servers[(number + 3) % 6].thaw()
    await eventually(lambda: _is_kept(script, key))


async def _is_kept(script: Script, key: str) -> bool:
    try:
        return bool(await script([key], safely=True))
    except Exception as error:
        if not is_outage(error):
            raise
        return False


async def test_all_is_kept_on_a_cluster_whose_slots_move_and_whose_primary_dies(
    tmp_path: Path,
) -> None:
    async with redis_cluster(tmp_path) as cluster:
        redis = open_redis(cluster.conf)
        try:
            await _lists_and_routes_work(redis)
            await _a_slot_is_moved(cluster, redis)
            await _a_replica_that_stands_still_has_nothing(cluster, redis)
            await _a_primary_dies(cluster, redis)
        finally:
            await redis.aclose()
