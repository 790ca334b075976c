"""One user sends text of 64 bytes to another who is online: it is stored, delivered, answered.

Each pair keeps --in-flight messages without an answer; with --rate, messages go out at that rate
altogether, whatever comes back, and their time counts from when they were due. With --messages the
run ends when so many have gone out, those of the warm-up included.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing

# The loop's own clock has whole milliseconds with uvloop.
from time import perf_counter as clock

from im_bench import machine
from im_bench.acks import acknowledging, add_acks
from im_bench.load import SLOWEST, check, connected, run_out, settle
from im_bench.options import add_seconds, whole
from im_bench.pair import Pair, Window
from im_bench.people import register
from im_bench.report import Failed, Row, latency
from im_bench.ticks import ticks
from im_local.testing import Ready

WARM_UP_S = 2.0
TICK_S = 0.001


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser).add_argument("--messages", type=whole(), help="how many to send in all")
    parser.add_argument("--pairs", type=whole(), default=100, help="of senders and receivers")
    parser.add_argument(
        "--in-flight", type=whole(), default=16, help="most unanswered, for each pair"
    )
    parser.add_argument("--rate", type=whole(), help="messages a second offered by all together")
    add_acks(parser)


def load(*words: str) -> argparse.Namespace:
    """The options of a load, as the command line would give them."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def longest_s(options: argparse.Namespace) -> float:
    if options.messages is None:
        return float(options.seconds)
    return float(options.messages / min(SLOWEST, options.rate or SLOWEST))


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, 2 * options.pairs)
    window = Window() if options.messages is None else Window(most=options.messages)
    pairs = [Pair(people[2 * i], people[2 * i + 1], window) for i in range(options.pairs)]
    return await put_on(options, ready, pairs, window)


async def put_on(
    options: argparse.Namespace, ready: Ready, pairs: Sequence[Pair], window: Window
) -> list[Row]:
    """The load of these pairs, which are not connected yet, and what came of it."""
    receivers = [pair.acknowledge for pair in pairs]
    async with connected(ready.ws_gateways, pairs), acknowledging(options.acks, receivers):
        rows = await measure(options, ready.pids, pairs, window)
    await check(ready.api, pairs)
    checked = f"all {window.offered}: answered once, delivered once, in order, stored"
    return [*rows, ("checked", checked)]


async def measure(
    options: argparse.Namespace, pids: Mapping[str, int], pairs: Sequence[Pair], window: Window
) -> list[Row]:
    """The load of pairs that are connected, and what it took of these processes."""
    memory = machine.Growth(pids, machine.CONSUMER, window.most)
    window.begin = clock() + WARM_UP_S
    if options.messages is None:
        window.end = window.begin + options.seconds
    offering = asyncio.create_task(_offer(options, pairs, window))
    warmed_up = asyncio.create_task(_usage_in(WARM_UP_S, pids))
    await run_out(pairs, window, memory.note)
    after = machine.usage(pids)
    if window.end <= window.begin:
        raise Failed(f"all {window.most} messages went out in the {WARM_UP_S:g} s of warm-up")
    await offering
    # The last of them are still under way, and count in the latencies.
    await settle(pairs)
    seconds = window.end - window.begin
    return [
        ("load", _describe(options)),
        ("sent", f"{window.sent / seconds:.0f} a second, {latency(window.sent_s)}"),
        ("delivered", f"{window.delivered / seconds:.0f} a second, {latency(window.delivered_s)}"),
        *machine.compare(await warmed_up, after, max(1, window.delivered)),
        *([] if options.messages is None else [memory.row()]),
    ]


async def _usage_in(seconds: float, pids: Mapping[str, int]) -> dict[str, machine.Usage]:
    await asyncio.sleep(seconds)
    return machine.usage(pids)


def _describe(options: argparse.Namespace) -> str:
    how = f"{options.in_flight} in flight each" if options.rate is None else f"{options.rate}/s"
    size = f"{options.seconds:g} s" if options.messages is None else f"{options.messages} messages"
    acks = f"{options.acks} acks a second each" if options.acks else "no acks"
    return f"{options.pairs} pairs, {how}, {size}, {acks}"


async def _offer(options: argparse.Namespace, pairs: Sequence[Pair], window: Window) -> None:
    if options.rate is None:
        for pair in pairs:
            pair.keep_in_flight(options.in_flight)
        return
    begin, offered = clock(), 0
    async with aclosing(ticks(TICK_S)) as clockwork:
        async for _ in clockwork:
            now = clock()
            if now >= window.end:
                return
            due = min(int((now - begin) * options.rate), window.most)
            for i in range(offered, due):
                pairs[i % len(pairs)].send(begin + i / options.rate)
            offered = due
