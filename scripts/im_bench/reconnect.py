"""All clients of a gateway lose their connections at once and come back at once, while a pair talks."""

from __future__ import annotations

import argparse
import asyncio
from time import perf_counter as clock

from im_bench import machine
from im_bench.crowds import check_open, connect_all, nothing, talking
from im_bench.idle import SLOWEST_ACCOUNTS, SLOWEST_HANDSHAKES
from im_bench.options import add_seconds, whole
from im_bench.people import Person, register
from im_bench.report import Failed, Row, latency
from im_bench.websocket import Socket, connect
from im_common.runtime.http_limits import raise_open_files
from im_local.testing import Ready

# A client that got no answer tries again after that time, as often as it takes.
AGAIN_S = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument(
        "--connections", type=whole(), default=5_000, help="each of a user of its own"
    )
    parser.add_argument("--at-once", type=whole(), default=32, help="handshakes at a time at first")


def longest_s(options: argparse.Namespace) -> float:
    made_s = options.connections * (2 / SLOWEST_HANDSHAKES + 1 / SLOWEST_ACCOUNTS)
    return float(made_s + 4 * options.seconds)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    raise_open_files()
    sender, receiver, *others = await register(ready.api, options.connections + 2)
    sockets = await connect_all(ready.ws, others, options.at_once)
    async with talking(ready, sender, receiver) as talk:
        await asyncio.sleep(options.seconds)
        calm = talk.since(0.0)
        check_open(sockets)
        before = machine.usage(ready.pids)
        for socket in sockets:
            socket.abort()
        began = clock()
        back = await asyncio.gather(*(_come_back(ready.ws, person) for person in others))
        took_s = clock() - began
        after = machine.usage(ready.pids)
        flooded = talk.since(began)
    sockets = [socket for socket, _, _ in back]
    check_open(sockets)
    for socket in sockets:
        socket.close()
    tries = sum(tries for _, _, tries in back)
    count = len(others)
    return [
        ("load", f"{count} clients come back at once; a pair talks beside them"),
        (
            "all are back",
            f"after {took_s:.1f} s, {count / took_s:.0f} a second, {tries} handshakes",
        ),
        ("until one is back", latency([waited_s for _, waited_s, _ in back])),
        ("delivery before", calm[1]),
        flooded,
        *machine.compare(before, after, count),
        ("checked", "each message of the pair: answered once, delivered once, in order, stored"),
    ]


async def _come_back(url: str, person: Person) -> tuple[Socket, float, int]:
    """Its connection, after how long (s), and at which try."""
    began, tries = clock(), 0
    while True:
        tries += 1
        try:
            return await connect(url, person.token, nothing), clock() - began, tries
        except (Failed, OSError, TimeoutError):
            await asyncio.sleep(AGAIN_S)
