"""Logins a second, beside the raw bcrypt rate of the machine, measured in the same run; and how many
get in when twice as many come."""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence

import bcrypt

from im.auth.v1 import auth_pb2 as pb
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im_bench import machine
from im_bench.http import Client, insist
from im_bench.options import add_seconds, whole
from im_bench.people import PASSWORD, Person, register
from im_bench.report import Failed, Row, latency
from im_bench.rpc import channel_to
from im_common.errors import AppError
from im_local.testing import Ready

COST = 12
# Of a login under overload, in seconds; so many times the capacity come.
DEADLINE_S = 2.0
OVERLOAD = 2
# So much of the capacity is to get in then, at least.
TARGET = 0.7


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--clients", type=whole(), default=16, help="logins at a time")


def longest_s(options: argparse.Namespace) -> float:
    return float(3 * options.seconds + DEADLINE_S)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, options.clients)
    # Before and after: the machine may be busier at one of the two times.
    raw_before = await asyncio.to_thread(_raw_rate, options.seconds / 2)
    before = machine.usage(ready.pids)
    times = await _log_in(ready.api, people, options.seconds)
    if not times:
        raise Failed(f"no login ended within {options.seconds:g} s: --seconds can be more")
    after = machine.usage(ready.pids)
    raw_after = await asyncio.to_thread(_raw_rate, options.seconds / 2)
    raw, rate = (raw_before + raw_after) / 2, len(times) / options.seconds
    outcomes = await _overload(ready, people, OVERLOAD * rate, options.seconds)
    got_in = outcomes["OK"] / options.seconds
    return [
        ("load", f"{options.clients} clients, {options.seconds:g} s, bcrypt cost {COST}"),
        ("bcrypt alone", f"{raw:.2f} a second on all cores ({raw_before:.2f}, {raw_after:.2f})"),
        ("logins", f"{rate:.2f} a second, {latency(times)}"),
        ("share", f"{rate / raw:.0%} of bcrypt alone"),
        (
            f"{OVERLOAD} times as many",
            f"{got_in:.2f} a second get in, {got_in / rate:.0%} of the capacity (target {TARGET:.0%})",
        ),
        (
            f"within {DEADLINE_S:g} s each",
            ", ".join(f"{code} {number}" for code, number in outcomes.most_common()),
        ),
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
            await insist(client, "POST", "/v1/auth/login", body=body)
            now = time.perf_counter()
            if now <= end:
                times.append(now - begin)
        client.close()

    await asyncio.gather(*(work(person) for person in people))
    return times


async def _overload(
    ready: Ready, people: Sequence[Person], rate: float, seconds: float
) -> Counter[str]:
    """How logins end, by status, of which ``rate`` a second begin, whatever became of the others."""
    outcomes: Counter[str] = Counter()
    async with (
        channel_to(ready, "auth", timeout_s=DEADLINE_S) as channel,
        asyncio.TaskGroup() as group,
    ):
        auth = AuthServiceStub(channel)

        async def log_in(person: Person) -> None:
            request = pb.LoginRequest(username=person.username, password=PASSWORD)
            try:
                await auth.Login(request)
                outcomes["OK"] += 1
            except AppError as error:
                outcomes[error.code.value] += 1

        begin = time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(begin + number / rate - time.perf_counter())
            group.create_task(log_in(people[number % len(people)]))
    return outcomes


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
