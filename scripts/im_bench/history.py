"""Pages of 50 anywhere in a long conversation, and the same in a short one.

Both are filled through the front door. Then pages are fetched, one request at a time, from the one
and the other in turn, so that whatever disturbs the machine disturbs both.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from time import perf_counter as clock
from typing import NamedTuple

import msgspec

from im_bench import machine
from im_bench.http import Client, fetch
from im_bench.load import SLOWEST, check, connected, run_out, settle
from im_bench.options import whole
from im_bench.pair import Pair, Window, number_in
from im_bench.people import register
from im_bench.report import Failed, Row, latency, percentiles
from im_local.testing import Ready

PAGE = 50
WARM_UP_ROUNDS = 50
SLOWEST_PAGE_S = 0.1
WANTED_RATIO = 1.5
# Where the bound of a request is, counted from the first message of the page it is to give.
BOUNDS = {"before_seq": PAGE, "after_seq": -1, "around_seq": PAGE // 2}
# These, the newest and the oldest.
KINDS = len(BOUNDS) + 2


def add_options(parser: argparse.ArgumentParser) -> None:
    number = whole(PAGE + 1)
    parser.add_argument("--long", type=number, default=1_000_000, help="messages of the long one")
    parser.add_argument("--short", type=number, default=1_000, help="messages of the short one")
    parser.add_argument("--pages", type=whole(), default=1_000, help="of each kind, from each")
    parser.add_argument("--in-flight", type=whole(), default=500, help="unanswered, in the fill")
    parser.add_argument("--seed", type=int, default=1, help="of the places of the pages")


def longest_s(options: argparse.Namespace) -> float:
    pages = 2 * KINDS * (options.pages + WARM_UP_ROUNDS)
    return float((options.long + options.short) / SLOWEST + pages * SLOWEST_PAGE_S)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, 4)
    window = Window(most=options.long)
    long = Pair(people[0], people[1], window)
    memory = machine.Growth(ready.pids, machine.CONSUMER, options.long)
    begin = clock()
    await _fill(ready, long, window, options.in_flight, memory)
    took = clock() - begin
    window = Window(most=options.short)
    short = Pair(people[2], people[3], window)
    await _fill(ready, short, window, options.in_flight)
    reader = Reader(await Client.connect(ready.api), options.seed)
    await reader.read((short, long), WARM_UP_ROUNDS)
    before = machine.usage(ready.pids)
    times = await reader.read((short, long), options.pages)
    after = machine.usage(ready.pids)
    pages = sum(map(len, times.values()))
    return [
        ("fill", f"{options.long} messages, {options.long / took:.0f} a second"),
        memory.row(),
        ("load", f"pages of {PAGE}, one at a time, {options.pages} of each kind from each"),
        *_compare(times, short, long),
        *machine.compare(before, after, pages),
        ("checked", f"all {pages} pages: the right messages, in order"),
    ]


async def _fill(
    ready: Ready, pair: Pair, window: Window, in_flight: int, memory: machine.Growth | None = None
) -> None:
    def note(offered: int) -> None:
        if memory is not None and memory.note(offered):
            print(f"bench: {offered} of {window.most} messages", file=sys.stderr, flush=True)

    async with connected([ready.ws], [pair]):
        pair.keep_in_flight(in_flight)
        await run_out([pair], window, note)
        await settle([pair])
    await check(ready.api, [pair])


class _Item(msgspec.Struct):
    conversation_id: str
    seq: int
    content: str


class _Page(msgspec.Struct):
    items: list[_Item]


_page_decoder = msgspec.json.Decoder(_Page)


class Place(NamedTuple):
    """What to ask for, and the seq that the page is to begin with."""

    query: str
    first: int


def _places(rng: random.Random, last_seq: int) -> dict[str, Place]:
    """A page of each kind."""
    places = {
        "newest": Place("", last_seq - PAGE + 1),
        "oldest": Place(f"&before_seq={PAGE + 1}", 1),
    }
    for bound, offset in BOUNDS.items():
        first = rng.randint(1, last_seq - PAGE + 1)
        places[bound] = Place(f"&{bound}={first + offset}", first)
    return places


Times = dict[tuple[str, Pair], list[float]]


class Reader:
    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._rng = random.Random(seed)  # noqa: S311

    async def read(self, pairs: Sequence[Pair], rounds: int) -> Times:
        """How long each page took, by its kind and conversation."""
        times: Times = {}
        for _ in range(rounds):
            places = [(pair, _places(self._rng, pair.offered)) for pair in pairs]
            for kind in places[0][1]:
                for pair, of_pair in places:
                    took = await self._fetch(pair, of_pair[kind])
                    times.setdefault((kind, pair), []).append(took)
        return times

    async def _fetch(self, pair: Pair, place: Place) -> float:
        path = f"{pair.history}?limit={PAGE}{place.query}"
        begin = clock()
        answer = await fetch(self._client, "GET", path, token=pair.sender.token)
        took = clock() - begin
        found = [
            (item.conversation_id, item.seq, number_in(item.content))
            for item in _page_decoder.decode(answer).items
        ]
        wanted = range(place.first, place.first + PAGE)
        if found != [(pair.conversation_id, seq, seq - 1) for seq in wanted]:
            raise Failed(f"GET {path}: not the messages {wanted[0]} to {wanted[-1]}")
        return took


def _compare(times: Times, short: Pair, long: Pair) -> list[Row]:
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in times):
        of_short, of_long = times[kind, short], times[kind, long]
        ratio = _ratio(of_short, of_long)
        rows += [
            (f"{kind} of {short.offered}", latency(of_short)),
            (f"{kind} of {long.offered}", f"{latency(of_long)}; p50 x {ratio}"),
        ]
    ratio = _ratio(_of(short, times), _of(long, times))
    return [*rows, ("all", f"p50 x {ratio} (at most {WANTED_RATIO} is wanted)")]


def _of(pair: Pair, times: Times) -> list[float]:
    return [took for (_, of), all_took in times.items() if of is pair for took in all_took]


def _ratio(short: Sequence[float], long: Sequence[float]) -> str:
    return f"{percentiles(long, 0.5)[0] / percentiles(short, 0.5)[0]:.2f}"
