"""More than the system can do, and then less: what is answered meanwhile, and how soon it is well.

First its capacity is measured; then --times as much is offered for --seconds, by clients that send
again what was refused when the answer says so, and what had no answer after 11 s; then half of the
capacity. At the end the capacity is measured again, as machines are not the same all the time: what
was sent is compared with the mean of both.
The run fails unless each message was stored once, and delivered once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from time import perf_counter as clock

from im_bench import machine
from im_bench.acks import acknowledging
from im_bench.crowd import STANDSTILL_S, TICK_S, Crowd
from im_bench.load import connected
from im_bench.options import add_seconds, whole
from im_bench.pair import Pair, Window
from im_bench.people import Person, register
from im_bench.report import Failed, Row
from im_local.testing import Ready

WARM_UP_S = 2.0
MEASURE_S = 6.0
# Half of the capacity, in which it recovers; and then, in which all must be well.
RECOVER_S = 15.0
AFTER_S = 10.0


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.set_defaults(seconds=30.0)
    parser.add_argument("--pairs", type=whole(), default=100, help="of senders and receivers")
    parser.add_argument("--times", type=whole(), default=3, help="the capacity is offered")


def longest_s(options: argparse.Namespace) -> float:
    return float(options.seconds) + 2 * (WARM_UP_S + MEASURE_S) + RECOVER_S + AFTER_S + 120.0


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    cores = machine.keep_a_core(ready.pids.values())
    people = await register(ready.api, 4 * options.pairs)
    half = 2 * options.pairs
    rate = await capacity(ready.ws, people[:half])
    async with Crowd(ready.ws, people[half:]) as crowd:
        during = await crowd.offer(options.times * rate, options.seconds)
        recovering = await crowd.offer(rate / 2, RECOVER_S)
        after = await crowd.offer(rate / 2, AFTER_S)
        settled_s = await crowd.settle()
        await crowd.check(ready.api)
    # Others send, to others.
    again = await capacity(ready.ws, [*people[1:half], people[0]])
    goodput, mean = during.sent / options.seconds, (rate + again) / 2
    phases = (during, recovering, after)
    return [
        ("cores", f"{cores} for the system, one for the load generator"),
        ("capacity", f"{rate:.0f} a second, and at the end {again:.0f}"),
        ("offered", f"{options.times} times the first for {options.seconds:g} s, then half of it"),
        ("sent meanwhile", f"{goodput:.0f} a second, {goodput / mean:.0%} of the capacity"),
        ("refused meanwhile", f"{during.refused / options.seconds:.0f} a second"),
        ("slowest answer", _phases(f"{tally.slowest_s:.2f} s" for tally in phases)),
        ("without an answer", _phases(str(tally.silent) for tally in phases)),
        ("sent after", f"{after.sent / AFTER_S:.0f} a second, {after.refused} refused"),
        ("all sent", f"{settled_s:.1f} s after the end"),
        ("checked", f"all {crowd.offered}: once, in order, stored"),
    ]


def _phases(values: Iterable[str]) -> str:
    during, recovering, after = values
    return f"{during}, {recovering} in the {RECOVER_S:g} s after it, then {after}"


async def capacity(url: str, people: Sequence[Person], seconds: float = MEASURE_S) -> float:
    """Messages a second when each of half as many pairs has sixteen without an answer."""
    window = Window()
    pairs = [Pair(people[i], people[i + 1], window) for i in range(0, len(people), 2)]
    async with connected([url], pairs), acknowledging(1, [pair.acknowledge for pair in pairs]):
        window.begin = clock() + WARM_UP_S
        window.end = window.begin + seconds
        for pair in pairs:
            pair.keep_in_flight(16)
        await asyncio.sleep(WARM_UP_S + seconds)
        await _all_settled(pairs)
    return window.sent / seconds


async def _all_settled(pairs: Sequence[Pair]) -> None:
    deadline = clock() + STANDSTILL_S
    while not all(pair.settled for pair in pairs):
        for pair in pairs:
            pair.raise_failure()
        if clock() > deadline:
            raise Failed("the capacity could not be measured")
        await asyncio.sleep(TICK_S)
