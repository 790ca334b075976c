"""What each step of a message's way costs alone: the same call, one at a time, with nothing around it.

Each gives its times in seconds, of so many rounds after a few that do not count."""

from __future__ import annotations

import asyncio
import tempfile
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter as clock
from typing import Any, TypeAlias

import aiokafka.admin
import grpc
from redis.asyncio import Redis

from im_bench import echo
from im_bench.databases import mysql_table, sqlite_table
from im_bench.websocket import Socket, connect, text_frame
from im_common.bus.kafka.client import new_topic
from im_local.infra_file import Infra
from im_local.testing import Ready

WARM_UP = 20
# Rows of a commit, about as many as a full consumer has.
BATCH = 100
# As big as a message of 64 bytes is on its way.
PAYLOAD = b"x" * 200
_NAME = "im_bench_floor"
_TABLE = "CREATE TABLE floor (id BIGINT PRIMARY KEY, body VARBINARY(255))"

Times: TypeAlias = "array[float]"
Execute = Callable[[str], Awaitable[object]]


async def measure(rounds: int, ready: Ready, infra: Infra | None) -> dict[str, Times]:
    """By what it is; the log and the database are those that the system uses."""
    found = {}
    async with echo.echoing() as (url, address):
        found["a frame, there and back"] = await _web_socket(rounds, url)
        found["a call, there and back"] = await _rpc(rounds, address)
    async with _redis(ready) as redis:
        found["a question to Redis"] = await _timed(rounds, lambda _: redis.get(_NAME))
    if infra is None:
        found["a record through the log"] = await _stream(rounds, ready)
    else:
        found["a record through the log"] = await _kafka(rounds, infra)
    async with _sqlite(Path(ready.data)) if infra is None else _mysql(infra) as execute:
        found["a commit of one row"] = await _timed(
            rounds, lambda number: execute(_insert(number, 1))
        )
    return found


async def rows_a_second(seconds: float, ready: Ready, infra: Infra | None) -> float:
    """How many rows the database of the system takes from one connection, in commits of BATCH."""
    async with _sqlite(Path(ready.data)) if infra is None else _mysql(infra) as execute:
        begin, done = clock(), 0
        while (now := clock()) < begin + seconds:
            await execute(_insert(done, BATCH))
            done += BATCH
        return done / (now - begin)


def _insert(first: int, count: int) -> str:
    rows = (f"({number}, '{PAYLOAD.decode()}')" for number in range(first, first + count))
    return "INSERT INTO floor VALUES " + ", ".join(rows)  # noqa: S608


async def _timed(rounds: int, step: Callable[[int], Awaitable[object]]) -> Times:
    times = array("d")
    for number in range(WARM_UP + rounds):
        began = clock()
        await step(number)
        times.append(clock() - began)
    return times[WARM_UP:]


async def _web_socket(rounds: int, url: str) -> Times:
    arrived = asyncio.Event()
    socket: Socket = await connect(url, "", lambda _: arrived.set())

    async def step(_: int) -> None:
        arrived.clear()
        socket.write(text_frame(PAYLOAD))
        await arrived.wait()

    times = await _timed(rounds, step)
    socket.close()
    return times


async def _rpc(rounds: int, address: str) -> Times:
    async with grpc.aio.insecure_channel(address) as channel:
        say: Any = channel.unary_unary(echo.METHOD)
        return await _timed(rounds, lambda _: say(PAYLOAD))


@asynccontextmanager
async def _redis(ready: Ready) -> AsyncIterator[Redis]:
    client = Redis.from_url(ready.redis)
    try:
        yield client
    finally:
        await client.delete(_NAME)
        await client.aclose()


async def _stream(rounds: int, ready: Ready) -> Times:
    """Written by one connection, and read by another that waits for it."""
    async with _redis(ready) as writer, _redis(ready) as reader:

        async def read(after: str) -> str:
            found: Any = await reader.xread({_NAME: after}, block=5_000)
            ((_, ((entry, _),)),) = found
            return str(entry.decode())

        last = "0"

        async def step(_: int) -> None:
            nonlocal last
            reading = asyncio.ensure_future(read(last))
            await asyncio.sleep(0)
            await writer.xadd(_NAME, {"v": PAYLOAD})
            last = await reading

        return await _timed(rounds, step)


async def _kafka(rounds: int, infra: Infra) -> Times:
    brokers = ",".join(infra.kafka)
    # The library has no types.
    kafka: Any = aiokafka
    admin = kafka.admin.AIOKafkaAdminClient(bootstrap_servers=brokers)
    producer = kafka.AIOKafkaProducer(bootstrap_servers=brokers, acks="all")
    consumer = kafka.AIOKafkaConsumer(bootstrap_servers=brokers, auto_offset_reset="earliest")
    await admin.start()
    await admin.create_topics([new_topic(_NAME, 1, 1)])
    await producer.start()
    await consumer.start()
    try:
        partition = kafka.TopicPartition(_NAME, 0)
        consumer.assign([partition])

        async def step(_: int) -> None:
            reading = asyncio.ensure_future(consumer.getone())
            await producer.send_and_wait(_NAME, PAYLOAD)
            await reading

        return await _timed(rounds, step)
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.delete_topics([_NAME])
        await admin.close()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Execute]:
    """On the disk of the system."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as own,
        sqlite_table(Path(own) / "floor.db", _TABLE) as connection,
    ):

        async def execute(statement: str) -> None:
            connection.execute(statement)

        yield execute


@asynccontextmanager
async def _mysql(infra: Infra) -> AsyncIterator[Execute]:
    async with mysql_table(infra, _NAME, _TABLE) as cursor:
        yield cursor.execute
