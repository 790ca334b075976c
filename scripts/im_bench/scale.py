"""What more processes bring: one chat-mq and one ws-gateway on one core against two of each, a pair on
each of two cores, with everything else, the load generator included, on the same cores; in turns.

With --most 4 or 8 as many of each are run as well, on the cores that there are: how many messages so
many cores would do follows from what one costs then, in processor time. Each has the same load as one
alone, so that batches are as big: take few --pairs, or there is not time enough to answer all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiokafka.admin

from im_bench import machine, messages
from im_bench.http import Client, insist
from im_bench.options import add_seconds, whole
from im_bench.people import register
from im_bench.report import Figures, Row, figures
from im_bench.runs import measured
from im_bench.target import own_servers, target
from im_bench.turns import Ratios, Side, in_turns
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC, EVENT_TOPIC
from im_local.infra_file import read_infra
from im_local.testing import Ready

# What there is several of.
PARTS = (machine.CONSUMER, "ws-gateway")
# As many for each consumer as one alone has.
PARTITIONS = 3
# So many conversations for each consumer that each partition has some.
FIRST_MESSAGES = FIRST_PAIRS = 10
_RATE = "sent: a second"
_CPU = ": ms CPU each 1,000"
_INSTANCE = re.compile(rf"^({'|'.join(PARTS)})(?:-(\d+))?$")
# A topic that was removed is there for a moment.
_REMOVED_WITHIN_S = 30.0


@dataclass
class Size(Side):
    """So many of each."""

    number: int = field(kw_only=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.set_defaults(seconds=6.0)
    parser.add_argument(
        "--most", type=whole(2), default=2, help="of each: 1, 2, 4 and so on up to that"
    )
    parser.add_argument(
        "--pairs", type=whole(), default=100, help="of senders and receivers, for each ws-gateway"
    )
    parser.add_argument(
        "--in-flight", type=whole(), default=16, help="most unanswered, for each pair"
    )


def compare(options: argparse.Namespace, env: Mapping[str, str]) -> tuple[list[Row], Ratios]:
    """Raises Failed when a message is lost, doubled or out of order."""
    sizes = [Size(str(number), number=number) for number in _numbers(options.most)]
    with ExitStack() as stack:
        infra = stack.enter_context(own_servers()) if options.real else None
        # New servers are slow: this run does not count.
        for turn, size in [(0, sizes[0]), *in_turns(sizes, options.turns)]:
            print(f"turn {turn}: {size.name} of each", file=sys.stderr, flush=True)
            run = _run(size.number, options, env, infra)
            if turn > 0:
                size.runs.append(run)
            if infra is not None:
                asyncio.run(_remove_topics(read_infra(infra).kafka))
    return report(sizes, len(os.sched_getaffinity(0)))


def _numbers(most: int) -> list[int]:
    return [number for power in range(most.bit_length()) if (number := 2**power) <= most]


def _run(
    number: int, options: argparse.Namespace, env: Mapping[str, str], infra: Path | None
) -> Figures:
    load = messages.load(
        *("--seconds", str(options.seconds), "--pairs", str(number * options.pairs)),
        *("--in-flight", str(options.in_flight)),
    )
    env = {**env, "IM_BUS__PARTITIONS": str(PARTITIONS * number)}
    scale = dict.fromkeys(PARTS, number)
    with (
        target(data=None, ready=None, infra=infra, env=env, scale=scale) as ready,
        _pinned(ready, number),
    ):
        return figures(measured(_load(load, ready, number), options.seconds))


async def _load(load: argparse.Namespace, ready: Ready, number: int) -> list[Row]:
    """Once messages go through all partitions, which several consumers take a while to share out, and
    each consumer has spoken to each gateway."""
    people = await register(ready.api, FIRST_MESSAGES * number)
    client = await Client.connect(ready.api)
    for me, other in pairwise(people):
        body = {"to": other.user_id, "content": "the first one"}
        await insist(client, "POST", "/v1/messages", token=me.token, body=body)
    client.close()
    few = ("--pairs", str(FIRST_PAIRS * number), "--in-flight", "1", "--seconds", "2")
    await messages.run(messages.load(*few), ready)
    return await messages.run(load, ready)


@contextmanager
def _pinned(ready: Ready, number: int) -> Iterator[None]:
    """The first of each on the first core, the second ones on the second, all else on both."""
    all_cores = sorted(os.sched_getaffinity(0))
    cores = all_cores[:number]
    for name, pid in ready.pids.items():
        machine.pin(pid, _cores_of(name, cores))
    try:
        yield
    finally:
        machine.pin(os.getpid(), all_cores)


def _cores_of(name: str, cores: Sequence[int]) -> Sequence[int]:
    found = _INSTANCE.match(name)
    if found is None:
        return cores
    return [cores[(int(found[2] or 1) - 1) % len(cores)]]


async def _remove_topics(brokers: Sequence[str]) -> None:
    """So that the next system makes them with as many partitions as it is to have."""
    # The library has no types.
    library: Any = aiokafka
    admin = library.admin.AIOKafkaAdminClient(bootstrap_servers=",".join(brokers))
    await admin.start()
    try:
        ours = {CHAT_TOPIC, EVENT_TOPIC, DEAD_LETTER_TOPIC} & set(await admin.list_topics())
        await admin.delete_topics(sorted(ours))
        async with asyncio.timeout(_REMOVED_WITHIN_S):
            while ours & set(await admin.list_topics()):
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


def report(sizes: Sequence[Size], cores: int) -> tuple[list[Row], Ratios]:
    """What each did, on at most so many cores; and beside one of each, what more did and would do."""
    rows = [(f"{size.name} of each", _describe(size, cores)) for size in sizes]
    one, ratios = sizes[0], Ratios()
    for size in sizes[1:]:
        name, pairs = f"{size.name} to 1", list(zip(size.runs, one.runs, strict=True))
        if size.number <= cores:
            found = ratios[f"{name}: messages a second"] = [a[_RATE] / b[_RATE] for a, b in pairs]
            rows.append((f"{name}: messages a second", _median(found)))
        dear = ratios[f"{name}: CPU of a message"] = [_all(a) / _all(b) for a, b in pairs]
        own = ratios[f"{name}: of it the pairs"] = [_parts(a) / _parts(b) for a, b in pairs]
        would = [size.number / ratio for ratio in dear]
        rows += [
            (f"{name}: CPU of a message", f"{_median(dear)}; of the pairs alone {_median(own)}"),
            (f"{name}: on {size.name} cores", f"{_median(would)} times the messages, by their CPU"),
        ]
    return rows, ratios


def _describe(size: Size, cores: int) -> str:
    """Medians: how many messages, what each part of the system takes for a thousand, how busy it is."""
    rate = statistics.median(run[_RATE] for run in size.runs)
    parts = {name: statistics.median(_of(run, name) for run in size.runs) for name in _names(size)}
    told = ", ".join(f"{name} {ms:.0f}" for name, ms in parts.items() if ms >= 0.5)
    busy = statistics.median(run[_RATE] * _all(run) / 1e6 for run in size.runs)
    on = min(size.number, cores)
    return f"{rate:.0f} a second; ms CPU each 1,000: {told}; {busy:.2f} of {on} cores busy"


def _names(size: Size) -> list[str]:
    """Those there are several of, and the others, the dearest first."""
    run = size.runs[0]
    names = [key.removesuffix(_CPU) for key in run if key.endswith(_CPU)]
    return [*PARTS, *(n for n in names if n != "processes" and not _INSTANCE.match(n))]


def _of(run: Figures, name: str) -> float:
    """Of all instances together."""
    found = (key.removesuffix(_CPU) for key in run if key.endswith(_CPU))
    same = [key for key in found if key == name or ((m := _INSTANCE.match(key)) and m[1] == name)]
    return sum(run[f"{key}{_CPU}"] for key in same)


def _all(run: Figures) -> float:
    return run[f"processes{_CPU}"]


def _parts(run: Figures) -> float:
    return sum(_of(run, name) for name in PARTS)


def _median(values: Sequence[float]) -> str:
    each = ", ".join(f"{value:.2f}" for value in values)
    return f"{statistics.median(values):.2f} ({each})"
