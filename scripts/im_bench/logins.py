"""Logins a second, beside the raw bcrypt rate of the machine, measured in the same run."""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from collections.abc import Sequence

import bcrypt

from im_bench import machine
from im_bench.http import Client, call
from im_bench.options import add_seconds, whole
from im_bench.people import PASSWORD, Person, register
from im_bench.report import Row, latency
from im_local.testing import Ready

COST = 12


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--clients", type=whole(), default=16, help="logins at a time")


def longest_s(options: argparse.Namespace) -> float:
    return float(2 * options.seconds)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, options.clients)
    # Before and after: the machine may be busier at one of the two times.
    raw_before = await asyncio.to_thread(_raw_rate, options.seconds / 2)
    before = machine.usage(ready.pids)
    times = await _log_in(ready.api, people, options.seconds)
    after = machine.usage(ready.pids)
    raw_after = await asyncio.to_thread(_raw_rate, options.seconds / 2)
    raw, rate = (raw_before + raw_after) / 2, len(times) / options.seconds
    return [
        ("load", f"{options.clients} clients, {options.seconds:g} s, bcrypt cost {COST}"),
        ("bcrypt alone", f"{raw:.2f} a second on all cores ({raw_before:.2f}, {raw_after:.2f})"),
        ("logins", f"{rate:.2f} a second, {latency(times)}"),
        ("share", f"{rate / raw:.0%} of bcrypt alone"),
        *machine.compare(before, after, max(1, len(times))),
    ]


async def _log_in(api: str, people: Sequence[Person], seconds: float) -> list[float]:
    """How long each login took that ended in time."""
    end = time.perf_counter() + seconds
    times: list[float] = []

    async def work(person: Person) -> None:
        client = await Client.connect(api)
        body = {"username": person.username, "password": PASSWORD, "device_id": "bench"}
        while (begin := time.perf_counter()) < end:
            await call(client, "POST", "/v1/auth/login", body=body)
            now = time.perf_counter()
            if now <= end:
                times.append(now - begin)
        client.close()

    await asyncio.gather(*(work(person) for person in people))
    return times


def _raw_rate(seconds: float) -> float:
    """Checks of a password a second, a thread on each core; bcrypt releases the GIL."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST))
    rates: list[float] = []

    def work() -> None:
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            bcrypt.checkpw(PASSWORD.encode(), hashed)
            count += 1
        rates.append(count / (time.perf_counter() - begin))

    threads = [threading.Thread(target=work) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)
