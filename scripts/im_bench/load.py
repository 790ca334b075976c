"""A load of messages from its first to its last, and what is true of it then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import perf_counter as clock

from im_bench.http import Client, call
from im_bench.pair import Pair, Window
from im_bench.report import Failed

POLL_S = 0.02
ANSWERS_WITHIN_S = 15.0
# Messages a second; a run by number that is slower than this is given up.
SLOWEST = 100


@asynccontextmanager
async def connected(urls: Sequence[str], pairs: Sequence[Pair]) -> AsyncIterator[None]:
    """The pairs are spread over the gateways, and the two of each are at different ones."""
    turns = len(urls)
    await asyncio.gather(
        *(pair.connect(urls[i % turns], urls[(i + 1) % turns]) for i, pair in enumerate(pairs))
    )
    try:
        yield
    finally:
        for pair in pairs:
            pair.close()


async def run_out(
    pairs: Sequence[Pair], window: Window, note: Callable[[int], object] = lambda _: None
) -> None:
    """Waits for the end of the window; ``note`` hears over and over how many were offered."""
    offered, at = window.offered, clock()
    while (now := clock()) < window.end:
        _raise_failures(pairs)
        if window.offered != offered:
            offered, at = window.offered, now
        elif now > at + ANSWERS_WITHIN_S:
            raise Failed(f"nothing was answered for {ANSWERS_WITHIN_S:g} s")
        note(offered)
        await asyncio.sleep(min(POLL_S, window.end - now))
    note(window.offered)


async def settle(pairs: Sequence[Pair]) -> None:
    """Waits until everything that was sent has its answer and has arrived."""
    deadline = clock() + ANSWERS_WITHIN_S
    while not all(pair.settled for pair in pairs):
        _raise_failures(pairs)
        if clock() > deadline:
            missing = sum(pair.offered - pair.delivered for pair in pairs)
            raise Failed(
                f"{missing} messages have not arrived {ANSWERS_WITHIN_S:g} s after the end"
            )
        await asyncio.sleep(POLL_S)


def _raise_failures(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        pair.raise_failure()


async def check(api: str, pairs: Sequence[Pair]) -> None:
    """Raises Failed unless each message was answered and delivered once, in its place, and stored.

    What is stored must end where what was sent ends; that it has no gap follows from the frames.
    """
    client = await Client.connect(api)
    for pair in pairs:
        pair.check()
        last = await _last_seq(client, pair)
        if last != pair.offered:
            raise Failed(f"{pair.offered} messages were sent, the history ends with {last}")
    client.close()


async def _last_seq(client: Client, pair: Pair) -> int:
    page = await call(client, "GET", f"{pair.history}?limit=1", token=pair.sender.token)
    return int(page["items"][-1]["seq"]) if page["items"] else 0
