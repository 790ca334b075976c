"""Commands that share a connection, on a real Redis-protocol server that is frozen and killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from im_common.runtime.redis_client import open_redis
from im_common.testing.valkey import ValkeyServer

TIMEOUT_S = 0.5


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer.running(tmp_path_factory.mktemp("lane")) as server:
        yield server


@pytest.fixture
async def client(server: ValkeyServer) -> AsyncIterator[Redis]:
    redis = open_redis(server.conf, timeout_s=TIMEOUT_S)
    yield redis
    await redis.aclose()


async def _connections(redis: Redis) -> int:
    """Beside the one that asks."""
    return len(await redis.client_list()) - 1


async def test_each_caller_has_its_own_answer_over_one_connection(client: Redis) -> None:
    await asyncio.gather(*(client.set(f"k{n}", n) for n in range(500)))
    answers = await asyncio.gather(*(client.get(f"k{n}") for n in range(500)))
    assert answers == [b"%d" % n for n in range(500)]
    assert await _connections(client) == 1


async def test_commands_go_out_in_the_order_of_their_calls(client: Redis) -> None:
    await asyncio.gather(*(client.rpush("list", n) for n in range(300)))
    assert await client.lrange("list", 0, -1) == [b"%d" % n for n in range(300)]


async def test_an_error_is_for_its_caller_alone(client: Redis) -> None:
    await client.set("text", "x")
    before, wrong, after = await asyncio.gather(
        client.get("text"), client.lpush("text", 1), client.get("text"), return_exceptions=True
    )
    assert (before, after) == (b"x", b"x")
    assert isinstance(wrong, ResponseError)


async def test_a_pipeline_gives_its_errors_among_its_answers_or_raises_the_first(
    client: Redis,
) -> None:
    def pipeline() -> object:
        return client.pipeline(transaction=False).set("text", "x").lpush("text", 1).get("text")

    first, wrong, last = await pipeline().execute(raise_on_error=False)  # type: ignore[attr-defined]
    assert (first, last) == (True, b"x")
    assert isinstance(wrong, ResponseError)
    with pytest.raises(ResponseError, match="Command # 2"):
        await pipeline().execute()  # type: ignore[attr-defined]


async def test_a_transaction_has_a_connection_of_its_own(client: Redis) -> None:
    async with client.pipeline(transaction=True) as transaction:
        await transaction.watch("n")
        transaction.multi()  # type: ignore[no-untyped-call]
        transaction.incr("n").incr("n")
        # Another caller does not come in between.
        await client.set("other", 1)
        assert await transaction.execute() == [1, 2]


async def test_what_waits_in_redis_holds_nobody_up(server: ValkeyServer) -> None:
    patient = open_redis(server.conf, timeout_s=60.0)
    waiting = asyncio.create_task(patient.blpop(["list"], timeout=30))  # type: ignore[arg-type]
    for _ in range(20):
        await patient.ping()
    assert not waiting.done()
    await patient.rpush("list", "x")
    assert list(await waiting) == [b"list", b"x"]
    await patient.aclose()


async def test_who_is_cancelled_takes_nobody_elses_answer(client: Redis) -> None:
    await client.set("a", "a")
    for _ in range(50):
        asked = [asyncio.create_task(client.echo(f"e{n}")) for n in range(10)]
        await asyncio.sleep(0)
        for one in asked[::2]:
            one.cancel()
        assert await client.get("a") == b"a"
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert answers[1::2] == [b"e%d" % n for n in range(1, 10, 2)]


async def test_a_frozen_server_fails_all_who_wait_in_time_and_serves_again(
    server: ValkeyServer, client: Redis
) -> None:
    await client.ping()
    server.freeze()
    began = time.monotonic()
    answers = await asyncio.gather(*(client.get("x") for _ in range(100)), return_exceptions=True)
    # Each is tried twice, and all of them together.
    assert time.monotonic() - began < 5 * 2 * TIMEOUT_S
    assert {type(one) for one in answers} <= {RedisTimeoutError, RedisConnectionError}
    server.thaw()
    assert await client.ping()


async def test_a_server_that_is_started_again_is_found_by_the_next_command(
    server: ValkeyServer, client: Redis
) -> None:
    await client.set("x", 1)
    server.kill()
    with pytest.raises(RedisConnectionError):
        await client.get("x")
    server.start()
    assert await client.get("x") == b"1"


async def test_who_waits_is_told_when_the_client_is_closed(
    server: ValkeyServer, client: Redis
) -> None:
    await client.ping()
    server.freeze()
    waiting = asyncio.create_task(client.get("x"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(client.aclose())
    try:
        with pytest.raises((RedisConnectionError, RedisTimeoutError)):
            await waiting
    finally:
        server.thaw()
    await closing


async def test_who_is_disconnected_may_ask_again_and_who_is_closed_may_not(client: Redis) -> None:
    await client.ping()
    await client.disconnect()  # type: ignore[attr-defined]
    assert await client.ping()
    await client.aclose()
    with pytest.raises(RedisConnectionError, match="was closed"):
        await client.ping()


async def test_what_cannot_be_written_is_asked_of_nobody(client: Redis) -> None:
    with pytest.raises(DataError):
        await client.set("x", object())  # type: ignore[arg-type]
    assert await client.ping()
