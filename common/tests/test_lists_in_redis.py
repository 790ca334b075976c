"""Routes, offline lists and recalls, on a real Redis-protocol server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from im_common.domain import recalls as recalls_module
from im_common.domain import routes as routes_module
from im_common.domain.missed import MissedLog
from im_common.domain.offline import MOST_FRAMES, OfflineList
from im_common.domain.recalls import MOST_RECALLS, RecallLog
from im_common.domain.routes import Route, RouteTable
from im_common.runtime.gathering import Gathered
from im_common.runtime.redis_scripts import Script
from im_common.testing.waiting import eventually

A = Route("h:1", 1, "ios", "a|b")
B = Route("h:2", 2, "web", "")
C = Route("h:2", 3, "web", "c")


async def test_routes_are_found_until_removed(redis: Redis) -> None:
    table = RouteTable(redis)
    await table.put([(1, A), (1, B), (2, B)])
    found = await table.find([1, 2, 3])
    assert set(found[1]) == {A, B}
    assert found[2] == [B]
    assert 3 not in found
    await asyncio.gather(table.remove(1, A), table.remove(2, B))
    assert await table.find([1, 2]) == {1: [B]}
    assert await table.find([]) == {}


async def test_it_is_known_until_when_somebody_has_a_connection(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, now = RouteTable(redis), 1_700_000_000_123
    monkeypatch.setattr(routes_module, "now_ms", lambda: now)
    await table.put([(1, A), (2, B)])
    monkeypatch.setattr(routes_module, "now_ms", lambda: now + 5)
    await table.put([(2, A)])
    until = now + routes_module.TTL_MS
    assert await table.last_until([1, 3, 2]) == [until, 0, until + 5]
    assert await table.last_until([]) == []


async def test_a_route_that_nobody_renews_is_gone(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = RouteTable(redis)
    await table.put([(1, A)])
    expires = routes_module.now_ms() + routes_module.TTL_MS
    monkeypatch.setattr(routes_module, "now_ms", lambda: expires + 1)
    assert await table.find([1]) == {}
    await table.put([(1, A)])
    assert await table.find([1]) == {1: [A]}


async def test_who_enters_is_told_of_the_connections_before_and_of_two_at_once_one_finds_the_other(
    redis: Redis,
) -> None:
    table = RouteTable(redis)
    assert await table.enter([(1, A)]) == [[]]
    assert await table.enter([(1, B), (2, B), (1, C)]) == [[A], [], [A, B]]
    first, second = (
        found[0] for found in await asyncio.gather(*(table.enter([(3, one)]) for one in (B, C)))
    )
    assert sorted([first, second], key=len) in ([[], [B]], [[], [C]])


async def test_what_is_asked_for_at_once_is_asked_for_together_and_fails_together() -> None:
    calls: list[list[int]] = []
    answering = asyncio.Event()

    async def double(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        await answering.wait()
        if 13 in items:
            raise ConnectionError("away")
        return [2 * item for item in items]

    ask = Gathered(double, most=3)
    asking = [asyncio.create_task(ask(item)) for item in (1, 2, 3, 4, 5, 13, 6)]
    await eventually(lambda: len(calls) == 1)
    asking[1].cancel()
    answering.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert calls == [[1, 2, 3], [4, 5, 13], [6]]
    assert [answers[0], answers[2], answers[6]] == [2, 6, 12]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert all(isinstance(answer, ConnectionError) for answer in answers[3:6])
    assert await ask(7) == 14


async def test_frames_stay_until_confirmed(redis: Redis) -> None:
    offline = OfflineList(redis)
    frames = [b"%d" % i for i in range(250)]
    await offline.append([(1, frames[:200]), (2, [b"x"])])
    await offline.append([(1, frames[200:])])
    assert await offline.head(1) == (frames[:100], 150)
    assert await offline.head(1) == (frames[:100], 150)
    await offline.confirm(1, frames[:100])
    assert await offline.head(1) == (frames[100:200], 50)
    # A second device confirms the same batch: nothing more goes.
    await offline.confirm(1, frames[:100])
    assert await offline.head(1) == (frames[100:200], 50)
    assert await offline.head(2) == ([b"x"], 0)


async def test_what_waits_behind_a_batch_comes_in_batches(redis: Redis) -> None:
    offline = OfflineList(redis)
    frames = [b"%d" % i for i in range(250)] + [bytes(500_000)] * 2
    await offline.append([(1, frames)])
    batch, _ = await offline.head(1)
    behind = [frames[100:200], [*frames[200:250], frames[250]], [frames[251]]]
    assert await offline.behind(1, batch) == behind
    # Another device has confirmed some of it.
    await offline.confirm(1, batch[:40])
    assert await offline.behind(1, batch) == behind
    await offline.confirm(1, frames)
    assert await offline.behind(1, batch) == []


async def test_only_the_newest_are_kept_and_a_late_confirmation_costs_nothing(
    redis: Redis,
) -> None:
    offline = OfflineList(redis)
    frames = [b"%d" % i for i in range(MOST_FRAMES + 50)]
    await offline.append([(1, frames[:MOST_FRAMES])])
    batch, _ = await offline.head(1)
    await offline.append([(1, frames[MOST_FRAMES:])])
    assert await offline.head(1, 1) == ([frames[50]], MOST_FRAMES - 1)
    await offline.confirm(1, batch)
    assert await offline.head(1, 1) == ([frames[100]], MOST_FRAMES - 51)


async def test_who_has_frames_is_told(redis: Redis) -> None:
    offline = OfflineList(redis)
    await offline.append([(1, [b"x"]), (3, [b"y"])])
    assert await offline.waiting([1, 2, 3]) == [1, 3]


async def test_a_device_is_told_the_recalls_since_it_was_last_heard_of(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000
    monkeypatch.setattr(recalls_module, "now_ms", lambda: now)
    log = RecallLog(redis)
    await log.add([(1, [b"old"])])
    now = 1_001
    # It has nothing yet that could be taken back.
    assert await log.missed(1, "phone") == []
    now = 2_000
    await log.add([(1, [b"a", b"b"]), (2, [b"of another"])])
    now = 3_000
    await log.add([(1, [b"a"])])
    assert await log.missed(1, "phone") == [b"b", b"a"]
    assert await log.missed(1, "laptop") == []
    await log.heard(1, "phone", 2_500)
    assert await log.missed(1, "phone") == [b"a"]
    now = 4_000
    await log.add([(1, [b"%d" % n]) for n in range(MOST_RECALLS)])
    assert sorted(await log.missed(1, "phone")) == sorted(b"%d" % n for n in range(MOST_RECALLS))


async def test_who_missed_something_is_there_until_that_is_done_with(redis: Redis) -> None:
    """An answer of Redis may be lost: the client asks once more."""
    missed = MissedLog(redis)
    await missed.add({"h:1": [7, "g:1"], "h:2": [9]})
    assert set(await missed.take("h:1")) == {7, "g:1"}
    await missed.add({"h:1": [8]})
    assert set(await missed.take("h:1")) == {7, 8, "g:1"}
    await missed.taken("h:1")
    assert (await missed.take("h:1"), await missed.take("h:2")) == ([], [9])


async def test_a_script_that_is_loaded_in_between_does_nothing_twice(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of calls that go out together only those that did not find it are made again."""
    text = "return redis.call('RPUSH', KEYS[1], ARGV[1])"
    pipeline_of = redis.pipeline

    def with_another_client(*, transaction: bool) -> Any:
        pipeline = pipeline_of(transaction=transaction)
        evalsha, execute = pipeline.evalsha, pipeline.execute

        def call(sha: str, count: int, *words: Any) -> Any:
            if words[0] == "list:2":
                pipeline.execute_command("SCRIPT LOAD", text)
            return evalsha(sha, count, *words)

        async def execute_ours(**arguments: Any) -> list[Any]:
            first, _, second = await execute(**arguments)
            return [first, second]

        pipeline.evalsha, pipeline.execute = call, execute_ours
        return pipeline

    await redis.script_flush()
    monkeypatch.setattr(redis, "pipeline", with_another_client)
    calls = [(["list:1"], ["a"]), (["list:2"], ["b"])]
    assert await Script(redis, text).each(calls) == [1, 1]
    assert await redis.lrange("list:1", 0, -1) == [b"a"]
    assert await redis.lrange("list:2", 0, -1) == [b"b"]
