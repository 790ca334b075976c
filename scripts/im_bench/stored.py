"""Whether a message costs the same when there are many already: two systems, one with --rows stored
messages and one with --few, under the same load in turns, and then a page of an old conversation and a
`sync` of one and of the other in turn.

The rows are put right into the database, in conversations of those who are measured and in many others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter as clock

import uvloop

from im_bench import fill, history, messages
from im_bench.fill import Filled
from im_bench.http import Client
from im_bench.options import add_seconds, whole
from im_bench.pair import Pair, Window
from im_bench.people import Person, register
from im_bench.report import Failed, Row, figures, latency, percentiles
from im_bench.runs import measured
from im_bench.target import own_servers, target
from im_bench.turns import Ratios, Side, in_turns, table
from im_bench.websocket import connect, text_frame
from im_common.sql.db import Database
from im_local.infra_file import Infra, read_infra
from im_local.testing import Ready

# A message costs at most so much more, or less, with many than with few.
WANTED = 0.1
# What a message costs.
COSTS = ("sent: a second", "sent: p50", "processes: ms CPU each 1,000")
WARM_UP_ROUNDS = 20
SYNC_WITHIN_S = 10.0


@dataclass
class Store(Side):
    """A system, how much was stored in it, and who is measured."""

    ready: Ready = field(kw_only=True)
    infra: Infra | None = field(kw_only=True)
    people: list[Person] = field(default_factory=list)
    # So many messages the conversation of each pair has.
    stored: list[int] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.set_defaults(seconds=6.0)
    number = whole(1_000)
    parser.add_argument("--rows", type=number, default=10_000_000, help="messages of the one")
    parser.add_argument("--few", type=number, default=10_000, help="messages of the other")
    parser.add_argument("--pairs", type=whole(), default=100, help="of senders and receivers")
    parser.add_argument(
        "--in-flight", type=whole(), default=16, help="most unanswered, for each pair"
    )
    parser.add_argument(
        "--reads", type=whole(), default=300, help="pages of each kind, and syncs, of each"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the places of the pages")


def compare(options: argparse.Namespace, env: Mapping[str, str]) -> tuple[list[Row], Ratios]:
    """Raises Failed when a message is lost, doubled or out of order."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="im-stored-")))
        few, many = (
            _start(stack, data / name, options, env, rows)
            for name, rows in (("few", options.few), ("many", options.rows))
        )
        filled = [
            uvloop.run(_fill(store, options.pairs, rows))
            for store, rows in ((few, options.few), (many, options.rows))
        ]
        for turn, store in in_turns([many, few], options.turns):
            print(f"turn {turn}: {store.name}", file=sys.stderr, flush=True)
            measured(_load(store, options), options.seconds)
        reads = measured(_read(few, many, options), options.reads * SYNC_WITHIN_S)
        rows, ratios = table(many, few)
        return [*filled, *rows, *reads, *_verdict(ratios)], ratios


def _start(
    stack: ExitStack, data: Path, options: argparse.Namespace, env: Mapping[str, str], rows: int
) -> Store:
    file = stack.enter_context(own_servers()) if options.real else None
    system = target(data=data / "system", ready=None, infra=file, env=env, scale={})
    ready = stack.enter_context(system)
    return Store(str(rows), ready=ready, infra=read_infra(file) if file else None)


async def _fill(store: Store, pairs: int, rows: int) -> Row:
    people = store.people = await register(store.ready.api, 2 * pairs)
    ours = [(people[2 * i].user_id, people[2 * i + 1].user_id) for i in range(pairs)]
    database = Database(fill.database_of(Path(store.ready.data), store.infra))

    def note(done: int, of: int) -> None:
        if done * 10 // of != (done - 1) * 10 // of or done == of:
            print(f"bench: {done} of {of} messages", file=sys.stderr, flush=True)

    try:
        filled = await fill.fill(database, ours, rows, note)
        size = await fill.size(database)
    finally:
        await database.close()
    store.stored = [filled.in_each] * pairs
    return f"fill {store.name}", _describe(filled, size)


def _describe(filled: Filled, size: int) -> str:
    return (
        f"{filled.rows} messages in {filled.conversations} conversations, "
        f"{filled.in_each} in each of ours: {filled.seconds:.1f} s, "
        f"{filled.rows / filled.seconds:.0f} rows/s, {size / filled.rows:.0f} bytes each"
    )


def _pairs(store: Store, window: Window) -> list[Pair]:
    people = store.people
    return [
        Pair(people[2 * i], people[2 * i + 1], window, stored=stored)
        for i, stored in enumerate(store.stored)
    ]


async def _load(store: Store, options: argparse.Namespace) -> None:
    """One run: `messages`, in the conversations that are there."""
    load = messages.load(
        *("--seconds", str(options.seconds), "--pairs", str(options.pairs)),
        *("--in-flight", str(options.in_flight)),
    )
    window = Window()
    pairs = _pairs(store, window)
    store.runs.append(figures(await messages.put_on(load, store.ready, pairs, window)))
    store.stored = [pair.offered for pair in pairs]


class _Reader:
    """Who looks at old conversations of one system, one question at a time."""

    def __init__(self, store: Store, pages: history.Reader) -> None:
        self._store = store
        self._pages = pages
        self._pairs = _pairs(store, Window())

    async def read(self, which: int) -> dict[str, float]:
        """A page of each kind of a conversation, and its last page by `sync`; how long each took."""
        pair = self._pairs[which]
        pages = await self._pages.read([pair], 1)
        took = {f"page, {kind}": times[0] for (kind, _), times in pages.items()}
        return took | {"sync": await self._sync(pair)}

    async def _sync(self, pair: Pair) -> float:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def on_frame(frame: bytes) -> None:
            if frame.startswith(b'{"type":"sync"') and not answer.done():
                answer.set_result(frame)

        socket = await connect(self._store.ready.ws, pair.receiver.token, on_frame)
        have = pair.offered - history.PAGE
        asked = {"type": "sync", "cursors": {pair.conversation_id: have}, "limit": history.PAGE}
        begin = clock()
        socket.write(text_frame(json.dumps(asked).encode()))
        async with asyncio.timeout(SYNC_WITHIN_S):
            (found,) = json.loads(await answer)["conversations"]
        took = clock() - begin
        socket.close()
        if [one["seq"] for one in found["messages"]] != list(range(have + 1, pair.offered + 1)):
            raise Failed(f"sync of {pair.conversation_id}: not the last {history.PAGE} messages")
        return took


async def _read(few: Store, many: Store, options: argparse.Namespace) -> list[Row]:
    rng = random.Random(options.seed)  # noqa: S311
    clients = [await Client.connect(store.ready.api) for store in (few, many)]
    readers = [
        _Reader(store, history.Reader(client, options.seed))
        for store, client in zip((few, many), clients, strict=True)
    ]
    times: list[dict[str, list[float]]] = [{}, {}]
    for number in range(WARM_UP_ROUNDS + options.reads):
        which = rng.randrange(options.pairs)
        # Who comes first changes.
        for side in (0, 1) if number % 2 else (1, 0):
            took = await readers[side].read(which)
            for kind, seconds in took.items() if number >= WARM_UP_ROUNDS else ():
                times[side].setdefault(kind, []).append(seconds)
    for client in clients:
        client.close()
    return [_compared(kind, times[1][kind], times[0][kind]) for kind in times[0]]


def _compared(kind: str, many: Sequence[float], few: Sequence[float]) -> Row:
    ratio = percentiles(many, 0.5)[0] / percentiles(few, 0.5)[0]
    return f"{kind} of 50", f"{latency(many)}; with few {latency(few)}; p50 x {ratio:.2f}"


def _verdict(ratios: Ratios) -> list[Row]:
    """What a message costs with many, in parts of what it costs with few: only told, as a run of three
    turns may be off by as much."""
    medians = {name: statistics.median(ratios[name]) for name in COSTS}
    told = ", ".join(f"{name} x {ratio:.2f}" for name, ratio in medians.items())
    within = all(abs(ratio - 1) <= WANTED for ratio in medians.values())
    return [("with many", f"{told} ({'all' if within else 'not all'} within {WANTED:.0%})")]
