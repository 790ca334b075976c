"""A log whose server is away, or silent: Redis Streams and Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from im_common.bus import BusUnavailable
from im_common.bus.kinds import KINDS
from im_common.testing.buses import Bus, Sink, consuming, started
from im_common.testing.ports import free_port
from im_common.testing.waiting import eventually


async def test_both_sides_go_on_after_an_outage(bus: Bus, topic: str) -> None:
    sink = Sink()
    sent: list[bytes] = []

    async def send_until_safe(value: bytes) -> None:
        while True:
            with suppress(BusUnavailable):
                await producer.send(topic, b"k", value)
                sent.append(value)
                return
            await asyncio.sleep(0.05)

    async with (
        started(bus.producer(timeout_ms=2_000)) as producer,
        consuming(bus.consumer([topic]), sink),
    ):
        for n in range(50):
            await send_until_safe(b"before %d" % n)
        async with bus.away():
            during = asyncio.create_task(send_until_safe(b"during"))
            await eventually(lambda: not producer.connected())
        await during
        for n in range(50):
            await send_until_safe(b"after %d" % n)
        await eventually(lambda: set(sent) <= set(sink.values), within_s=30)
    assert len(sent) == 101


async def test_a_producer_fails_in_time_when_the_server_goes_away(bus: Bus, topic: str) -> None:
    async with started(bus.producer(timeout_ms=1_500)) as producer:
        await producer.send(topic, b"k", b"v")
        assert producer.connected()
        await producer.ping()
        async with bus.away():
            before = time.monotonic()
            with pytest.raises(BusUnavailable):
                await producer.send(topic, b"k", b"v")
            # Not when the link is given up, or the server is back.
            assert time.monotonic() - before < 3 * 1.5
            with pytest.raises(BusUnavailable):
                await producer.enqueue(topic, b"k", b"v")
            with pytest.raises(BusUnavailable):
                await producer.ping()
        await eventually(producer.connected)
        await producer.send(topic, b"k", b"v")


async def test_a_full_buffer_makes_callers_wait_and_then_fail(bus: Bus, topic: str) -> None:
    async with started(bus.producer(timeout_ms=1_500, buffer_records=10)) as producer:
        await asyncio.gather(*(producer.send(topic, b"k", b"%d" % n) for n in range(200)))
        async with bus.away():
            results = await asyncio.gather(
                *(producer.enqueue(topic, b"k", b"v") for _ in range(30)), return_exceptions=True
            )
            refused = [result for result in results if isinstance(result, BusUnavailable)]
            assert len(refused) >= 20
            for result in results:
                if isinstance(result, asyncio.Future):
                    with pytest.raises(BusUnavailable):
                        await result


@pytest.fixture(params=list(KINDS))
async def nobody(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """A log of each kind where nobody listens."""
    bus = Bus(request.param, f"127.0.0.1:{free_port()}")
    yield bus
    await bus.aclose()


async def test_a_producer_starts_while_the_server_is_away(nobody: Bus) -> None:
    async with started(nobody.producer(), is_there=False) as producer:
        assert not producer.connected()
        with pytest.raises(BusUnavailable):
            await producer.enqueue("t", b"k", b"v")
        with pytest.raises(BusUnavailable):
            await producer.ping()


async def test_who_looks_at_a_log_that_is_away_is_told(nobody: Bus) -> None:
    with pytest.raises(BusUnavailable):
        await nobody.ensure_topics({"t": 3})
    with pytest.raises(BusUnavailable):
        await anext(nobody.browse("t"))
    with pytest.raises(BusUnavailable):
        await nobody.consumer(["t"]).ping()
