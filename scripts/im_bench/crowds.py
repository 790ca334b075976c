"""Many connections to one gateway, and a pair that talks beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter as clock

from im_bench.load import check, settle
from im_bench.pair import Pair, Window
from im_bench.people import Person
from im_bench.report import Failed, Row, latency
from im_bench.websocket import Socket, connect
from im_local.testing import Ready

# Messages of the pair a second.
RATE = 50


def nothing(_frame: bytes) -> None:
    """What a frame is to a client that only listens."""


async def connect_all(url: str, people: Sequence[Person], at_once: int) -> list[Socket]:
    """A connection of each, so many handshakes at a time."""
    todo, sockets = iter(people), list[Socket]()

    async def work() -> None:
        for person in todo:
            sockets.append(await connect(url, person.token, nothing))

    await asyncio.gather(*(work() for _ in range(at_once)))
    return sockets


def check_open(sockets: Sequence[Socket]) -> None:
    """Raises Failed when one has ended."""
    ended = [socket.ended for socket in sockets if socket.ended is not None]
    if ended:
        raise Failed(f"{len(ended)} of {len(sockets)} connections have ended: {ended[0]}")


class Talk:
    """A pair's messages, RATE a second whatever comes back. Times count from when one was due."""

    def __init__(self, pair: Pair, window: Window) -> None:
        self._pair = pair
        self._window = window

    def since(self, begin: float) -> Row:
        """The delivery of those that were due from ``begin`` (the bench's clock) on, until now."""
        times = self._window.delivered_s[self._first_due_after(begin) :]
        return "  delivery meanwhile", f"{latency(times)}, of {len(times)} messages"

    def _first_due_after(self, begin: float) -> int:
        return max(0, int((begin - self._window.begin) * RATE))


@asynccontextmanager
async def talking(ready: Ready, sender: Person, receiver: Person) -> AsyncIterator[Talk]:
    """A pair talks during the block. Raises Failed at its end unless each message was answered once,
    delivered once, in order, and is stored."""
    window = Window()
    pair = Pair(sender, receiver, window)
    await pair.connect(ready.ws, ready.ws)
    window.begin = clock()

    async def talk() -> None:
        number = 0
        while True:
            due = window.begin + number / RATE
            await asyncio.sleep(max(0.0, due - clock()))
            pair.raise_failure()
            pair.send(due)
            number += 1

    task = asyncio.create_task(talk())
    try:
        yield Talk(pair, window)
        window.end = clock()
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    await settle([pair])
    await check(ready.api, [pair])
    pair.close()
