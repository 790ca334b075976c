"""The HTTP routes that a client uses most: what each costs, and where."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from im_bench import machine
from im_bench.http import Client, call
from im_bench.options import add_seconds, whole
from im_bench.people import Person, register
from im_bench.report import Row, latency
from im_local.testing import Ready

WARM_UP_S = 2.0
# In each conversation, before it is measured.
MESSAGES = 30


@dataclass(frozen=True)
class Route:
    """What one person asks, and of a POST what it sends (as the n-th)."""

    method: str
    path: Callable[[Person, Person], str]
    body: Callable[[Person, int], object] | None = None


def _conversation(me: Person, other: Person) -> str:
    low, high = sorted((me.user_id, other.user_id))
    return f"s:{low}:{high}"


ROUTES = {
    "GET /v1/users/me": Route("GET", lambda *_: "/v1/users/me"),
    "GET /v1/conversations": Route("GET", lambda *_: "/v1/conversations"),
    "GET …/messages": Route(
        "GET", lambda me, other: f"/v1/conversations/{_conversation(me, other)}/messages"
    ),
    "POST /v1/messages": Route(
        "POST",
        lambda *_: "/v1/messages",
        lambda other, number: {"to": other.user_id, "content": f"message {number}"},
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--clients", type=whole(2), default=16, help="requests at a time")


def longest_s(options: argparse.Namespace) -> float:
    return float(options.seconds + WARM_UP_S) * len(ROUTES)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, options.clients)
    await _fill(ready.api, people)
    rows: list[Row] = [("load", f"{options.clients} clients, {options.seconds:g} s each route")]
    for name, route in ROUTES.items():
        await _ask(ready.api, people, route, WARM_UP_S)
        before = machine.usage(ready.pids)
        times = await _ask(ready.api, people, route, options.seconds)
        after = machine.usage(ready.pids)
        rows.append((name, f"{len(times) / options.seconds:.0f} a second, {latency(times)}"))
        rows += machine.compare(before, after, max(1, len(times)))
    return rows


async def _fill(api: str, people: Sequence[Person]) -> None:
    """Everybody writes to who comes next."""
    client = await Client.connect(api)
    for me, other in _pairs(people):
        for number in range(MESSAGES):
            body = {"to": other.user_id, "content": f"message {number}"}
            await call(client, "POST", "/v1/messages", token=me.token, body=body)
    client.close()


async def _ask(api: str, people: Sequence[Person], route: Route, seconds: float) -> list[float]:
    """How long each request took."""
    end = time.perf_counter() + seconds
    times: list[float] = []

    async def work(me: Person, other: Person) -> None:
        client = await Client.connect(api)
        path = route.path(me, other)
        for number in itertools.count():
            begin = time.perf_counter()
            if begin >= end:
                break
            body = route.body(other, number) if route.body else None
            await call(client, route.method, path, token=me.token, body=body)
            times.append(time.perf_counter() - begin)
        client.close()

    await asyncio.gather(*(work(me, other) for me, other in _pairs(people)))
    return times


def _pairs(people: Sequence[Person]) -> list[tuple[Person, Person]]:
    return [(me, people[(place + 1) % len(people)]) for place, me in enumerate(people)]
