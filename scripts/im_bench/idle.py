"""Connections that say nothing: handshakes a second, memory of each, and what all of them cost while
nothing happens; with `--bad`, what a flood of handshakes with bad tokens does to a pair that talks."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from time import perf_counter as clock

from im_bench import machine
from im_bench.crowds import check_open, connect_all, talking
from im_bench.options import add_seconds, whole
from im_bench.people import Person, register
from im_bench.report import Failed, Row
from im_bench.websocket import connect
from im_common.runtime.http_limits import raise_open_files
from im_local.testing import Ready

GATEWAY = "ws-gateway"
KIB = 1024
# Until what comes with a handshake (presence, the first looks into lists) is over.
SETTLE_S = 6.0
SLOWEST_HANDSHAKES = 50
SLOWEST_ACCOUNTS = 40


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument(
        "--connections", type=whole(), default=5_000, help="each of a user of its own"
    )
    parser.add_argument("--at-once", type=whole(), default=32, help="handshakes at a time")
    parser.add_argument(
        "--bad", type=whole(0), default=0, help="bad handshakes a second, at the end"
    )


def longest_s(options: argparse.Namespace) -> float:
    made_s = options.connections * (1 / SLOWEST_HANDSHAKES + 1 / SLOWEST_ACCOUNTS)
    return float(made_s + SETTLE_S + 4 * options.seconds)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    raise_open_files()
    people = await register(ready.api, options.connections + 3)
    pair, others = people[:2], people[2:]
    # What the first handshake loads is nobody's.
    first = await connect_all(ready.ws, others[:1], 1)
    before, began = machine.usage(ready.pids), clock()
    sockets = await connect_all(ready.ws, others[1:], options.at_once)
    took_s = clock() - began
    await asyncio.sleep(SETTLE_S)
    rows = _made(options, before, machine.usage(ready.pids), took_s)
    rows += await _rest(options.seconds, ready.pids)
    check_open([*first, *sockets])
    if options.bad:
        rows += await _flooded(options, ready, *pair)
        check_open([*first, *sockets])
    for socket in [*first, *sockets]:
        socket.close()
    return [*rows, ("checked", f"all {len(sockets)} connections were still open at the end")]


def _made(
    options: argparse.Namespace,
    before: Mapping[str, machine.Usage],
    after: Mapping[str, machine.Usage],
    took_s: float,
) -> list[Row]:
    count = options.connections
    memory = [
        f"{name} {(after[name].rss - before[name].rss) / count / KIB:.1f}"
        for name in after
        if name.startswith(GATEWAY) and name in before
    ]
    return [
        ("load", f"{count} connections, each of a user of its own"),
        ("handshakes", f"{count / took_s:.0f} a second, {options.at_once} at a time"),
        ("memory of each", f"{', '.join(memory)} KiB (RSS)"),
    ]


async def _rest(seconds: float, pids: Mapping[str, int]) -> list[Row]:
    """Nothing happens for so long."""
    before = machine.usage(pids)
    await asyncio.sleep(seconds)
    after = machine.usage(pids)
    shares = {
        name: (after[name].cpu_s - before[name].cpu_s) / seconds for name in before if name in after
    }
    busiest = sorted(shares.items(), key=lambda item: -item[1])
    return [
        ("at rest", f"{sum(shares.values()):.1%} of a core together, {seconds:g} s"),
        *((f"  {name}", f"{share:.1%} of a core") for name, share in busiest if share >= 0.001),
    ]


async def _flooded(
    options: argparse.Namespace, ready: Ready, sender: Person, receiver: Person
) -> list[Row]:
    async with talking(ready, sender, receiver) as talk:
        await asyncio.sleep(options.seconds)
        calm = talk.since(0.0)
        began = clock()
        refused = await _bad_handshakes(ready.ws, sender.token, options)
        flooded = talk.since(began)
    return [
        ("a pair beside them", calm[1]),
        ("bad handshakes", f"{refused / (clock() - began):.0f} a second"),
        flooded,
    ]


async def _bad_handshakes(url: str, token: str, options: argparse.Namespace) -> int:
    """Tokens that look right, with a signature that is not. How many were refused."""
    bad = token[:-8] + "AAAAAAAA"
    refused, begin, total = 0, clock(), int(options.bad * options.seconds)
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        nonlocal refused
        try:
            await connect(url, bad, lambda _: None)
        except Failed:
            refused += 1
        else:
            raise Failed("a bad token was let in")

    for number in range(total):
        await asyncio.sleep(max(0.0, begin + number / options.bad - clock()))
        task = asyncio.create_task(one())
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(set(running))
    return refused
