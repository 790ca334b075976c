"""GET /v1/users/me: the whole way of a read, from HTTP through a service to its database and back."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from im_bench import machine
from im_bench.http import Client, call
from im_bench.options import add_seconds, whole
from im_bench.people import Person, register
from im_bench.report import Row, latency
from im_local.testing import Ready

WARM_UP_S = 2.0


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--clients", type=whole(), default=16, help="requests at a time")


def longest_s(options: argparse.Namespace) -> float:
    return float(options.seconds)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, options.clients)
    await _ask(ready.api, people, WARM_UP_S)
    before = machine.usage(ready.pids)
    times = await _ask(ready.api, people, options.seconds)
    after = machine.usage(ready.pids)
    return [
        ("load", f"{options.clients} clients, {options.seconds:g} s"),
        ("requests", f"{len(times) / options.seconds:.0f} a second, {latency(times)}"),
        *machine.compare(before, after, max(1, len(times))),
    ]


async def _ask(api: str, people: Sequence[Person], seconds: float) -> list[float]:
    """How long each request took."""
    end = time.perf_counter() + seconds
    times: list[float] = []

    async def work(person: Person) -> None:
        client = await Client.connect(api)
        while (begin := time.perf_counter()) < end:
            await call(client, "GET", "/v1/users/me", token=person.token)
            times.append(time.perf_counter() - begin)
        client.close()

    await asyncio.gather(*(work(person) for person in people))
    return times
