"""One user sends text of 64 bytes to another who is online: it is stored, delivered, answered.

Each pair keeps --in-flight messages without an answer; with --rate, messages go out at that rate
altogether, whatever comes back, and their time counts from when they were due.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

# The loop's own clock has whole milliseconds with uvloop.
from time import perf_counter as clock

from im_bench import machine
from im_bench.http import Client, call
from im_bench.pair import Pair, Window
from im_bench.people import Person, register
from im_bench.report import Failed, Row, latency
from im_local.testing import Ready

WARM_UP_S = 2.0
TICK_S = 0.001
ANSWERS_WITHIN_S = 15.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=100, help="of senders and receivers")
    parser.add_argument("--in-flight", type=int, default=16, help="most unanswered, for each pair")
    parser.add_argument("--rate", type=int, help="messages a second offered by all together")


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, 2 * options.pairs)
    window = Window()
    pairs = [Pair(people[2 * i], people[2 * i + 1], window) for i in range(options.pairs)]
    await asyncio.gather(*(pair.connect(ready.ws) for pair in pairs))
    try:
        rows = await _measure(options, ready, pairs, window)
        await _settle(pairs)
    finally:
        for pair in pairs:
            pair.close()
    for pair in pairs:
        pair.check()
    await _check_history(ready.api, pairs)
    total = sum(pair.offered for pair in pairs)
    return [*rows, ("checked", f"all {total}: answered once, delivered once, in order, stored")]


async def _measure(
    options: argparse.Namespace, ready: Ready, pairs: Sequence[Pair], window: Window
) -> list[Row]:
    window.begin = clock() + WARM_UP_S
    window.end = window.begin + options.seconds
    offering = asyncio.create_task(_offer(options, pairs, window))
    await asyncio.sleep(WARM_UP_S)
    before = machine.usage(ready.pids)
    await asyncio.sleep(max(0.0, window.end - clock()))
    after = machine.usage(ready.pids)
    await offering
    # The last of them are still under way, and count in the latencies.
    await _settle(pairs)
    return [
        ("load", _describe(options)),
        ("sent", f"{window.sent / options.seconds:.0f} a second, {latency(window.sent_s)}"),
        (
            "delivered",
            f"{window.delivered / options.seconds:.0f} a second, {latency(window.delivered_s)}",
        ),
        *machine.compare(before, after, max(1, window.delivered)),
    ]


def _describe(options: argparse.Namespace) -> str:
    how = f"{options.in_flight} in flight each" if options.rate is None else f"{options.rate}/s"
    return f"{options.pairs} pairs, {how}, {options.seconds:g} s"


async def _offer(options: argparse.Namespace, pairs: Sequence[Pair], window: Window) -> None:
    if options.rate is None:
        for pair in pairs:
            pair.keep_in_flight(options.in_flight)
        await asyncio.sleep(window.end - clock())
        return
    begin, offered = clock(), 0
    while (now := clock()) < window.end:
        due = int((now - begin) * options.rate)
        for i in range(offered, due):
            pairs[i % len(pairs)].send(begin + i / options.rate)
        offered = due
        await asyncio.sleep(TICK_S)


async def _settle(pairs: Sequence[Pair]) -> None:
    """Waits until everything that was sent has its answer and has arrived."""
    deadline = clock() + ANSWERS_WITHIN_S
    while not all(pair.settled for pair in pairs):
        for pair in pairs:
            pair.raise_failure()
        if clock() > deadline:
            missing = sum(pair.offered - pair.delivered for pair in pairs)
            raise Failed(
                f"{missing} messages have not arrived {ANSWERS_WITHIN_S:g} s after the end"
            )
        await asyncio.sleep(0.02)


async def _check_history(api: str, pairs: Sequence[Pair]) -> None:
    """What is stored ends where what was sent ends; that it has no gap follows from the frames."""
    client = await Client.connect(api)
    for pair in pairs:
        last = await _last_seq(client, pair.sender, pair.receiver)
        if last != pair.offered:
            raise Failed(f"{pair.offered} messages were sent, the history ends with {last}")
    client.close()


async def _last_seq(client: Client, one: Person, other: Person) -> int:
    low, high = sorted((one.user_id, other.user_id))
    path = f"/v1/conversations/s:{low}:{high}/messages?limit=1"
    page = await call(client, "GET", path, token=one.token)
    return int(page["items"][-1]["seq"]) if page["items"] else 0
